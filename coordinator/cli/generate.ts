/** `thermocline generate`: a client of the Generate RPC, with a private stack when no server is named. */
import { Command } from "commander";
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";
import { InferenceService } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { connect, GrpcClient } from "../../proto/grpc.js";
import { jsonPrinter, textPrinter } from "./generate-output.js";
import { decimal, parseOptions, whole, whole64 } from "./option-values.js";
import { givenServingOptions, startPrivateStack } from "./private-stack.js";
import { addServingOptions, parseServingOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";

/** Longest a request may take; a client that wants out sooner interrupts it. */
const REQUEST_DEADLINE_MS = 24 * 3600 * 1000;
/** How grpc-js begins to say that it found nobody to talk to. */
const NO_CONNECTION = /^(No connection established|Name resolution failed|No addresses resolved)/;

export function generateCommand(): Command {
  const command = new Command("generate")
    .description("Continues a prompt and prints the text as it comes.")
    .requiredOption("--prompt <text>", "the text to continue")
    .option("--max-tokens <n>", "most tokens to generate (default: what is left of the context)")
    .option("--temperature <t>", "0 picks the likeliest token", "0")
    .option("--top-k <k>", "keeps the k likeliest tokens; 0 keeps all", "0")
    .option("--top-p <p>", "keeps the likeliest tokens whose probabilities add up to p", "1")
    .option("--min-p <p>", "drops tokens less likely than this share of the likeliest", "0")
    .option("--repeat-penalty <r>", "above 1 makes recent tokens less likely", "1")
    .option("--seed <n>", "same seed, same text (default: drawn)")
    .option("--stop <text...>", "ends before any of these texts")
    .option(
      "--server <address>",
      "a running server, host:port or unix:/path (default: starts one for this call)",
    )
    .option("--layers", "prints what each layer's time went to")
    .option("--json", "prints each message of the server as a line of JSON instead of text");
  return addServingOptions(command)
    .addHelpText(
      "after",
      `
Without --server a stack is started for this call and stopped after it; serving options go to it.

Examples:
  thermocline generate --prompt "Once upon a time" --max-tokens 100 --layers
  thermocline generate --server 127.0.0.1:50051 --prompt "One day" --temperature 0.8 --seed 7`,
    )
    .action(async (_options: unknown, self: Command) => generate(self));
}

const MOST_UINT32 = 2 ** 32 - 1;

/** The ranges are those of inference.proto. */
const schema = z.object({
  prompt: z.string().min(1, "--prompt is empty; give a text to continue"),
  maxTokens: whole("--max-tokens", 1, MOST_UINT32).nullable().default(null),
  temperature: decimal("--temperature", 0, 100),
  topK: whole("--top-k", 0, MOST_UINT32),
  topP: decimal("--top-p", 0, 1, false),
  minP: decimal("--min-p", 0, 1),
  repeatPenalty: decimal("--repeat-penalty", 0, 10, false),
  seed: whole64("--seed").nullable().default(null),
  stop: z.array(z.string()).default([]),
  server: z.string().nullable().default(null),
  layers: z.boolean().default(false),
  json: z.boolean().default(false),
});
type GenerateOptions = z.infer<typeof schema>;

async function generate(command: Command): Promise<void> {
  const options = parseOptions(schema, command.opts());
  if (options.server === null) parseServingOptions(command.opts());
  else refuseServingOptions(command);
  const interruption = onceInterrupted();
  const { signal } = interruption;
  try {
    if (options.server === null) await generatePrivately(command, options, signal);
    else await request(options.server, options, signal);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    interruption.release();
  }
}

/** With a stack of its own. */
async function generatePrivately(
  command: Command,
  options: GenerateOptions,
  signal: AbortSignal,
): Promise<void> {
  const stack = await startPrivateStack(command, signal);
  try {
    await request(stack.address, options, signal);
  } catch (error) {
    throw await stack.explain(error);
  } finally {
    await stack.stop();
  }
}

/** What a running server serves, and on what, was decided when it was started. */
function refuseServingOptions(command: Command): void {
  const [given] = givenServingOptions(command);
  if (given === undefined) return;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `${given.flag} is for a stack of this call's own, and --server names a running one; leave one of them out`,
  );
}

async function request(address: string, options: GenerateOptions, signal: AbortSignal): Promise<void> {
  const channel = connect(address, "--server");
  const client = new GrpcClient(InferenceService, channel);
  const left = new AbortController();
  // Nobody reads any more, as with `| head -1`.
  const leave = () => left.abort();
  process.stdout.on("error", leave);
  try {
    const responses = client.serverStream(
      "generate",
      {
        prompt: options.prompt,
        ...(options.maxTokens === null ? {} : { maxTokens: options.maxTokens }),
        sampling: {
          temperature: options.temperature,
          topK: options.topK,
          topP: options.topP,
          minP: options.minP,
          repeatPenalty: options.repeatPenalty,
          ...(options.seed === null ? {} : { seed: options.seed }),
        },
        stop: options.stop,
        layerSummary: options.layers,
      },
      { deadlineMs: REQUEST_DEADLINE_MS, signal: AbortSignal.any([signal, left.signal]) },
    );
    const printer = options.json ? jsonPrinter() : textPrinter(options.prompt, options.layers);
    try {
      for await (const response of responses) printer.print(response);
    } finally {
      printer.end();
    }
  } catch (error) {
    if (!left.signal.aborted) throw describeSilence(error, address);
  } finally {
    channel.close();
    process.stdout.off("error", leave);
  }
}

/** The channel's own words for a server that is not there name neither it nor a remedy. */
function describeSilence(error: unknown, address: string): unknown {
  if (!(error instanceof ThermoclineError) || !NO_CONNECTION.test(error.message)) return error;
  return new ThermoclineError(
    "UNAVAILABLE",
    `no server answers at ${address}; start one with \`thermocline serve\`, or leave --server out`,
    { cause: error },
  );
}
