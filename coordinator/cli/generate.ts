/** `thermocline generate`: a client of the Generate RPC, with a private stack when no server is named. */
import { Command } from "commander";
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";
import {
  FinishReason,
  type GenerateSummary,
  InferenceService,
  type Token,
} from "../../proto/gen/thermocline/v1/inference_pb.js";
import { connect, GrpcClient } from "../../proto/grpc.js";
import { formatSeconds } from "../../proto/units.js";
import { layerTable } from "./layer-table.js";
import { startPrivateStack } from "./private-stack.js";
import { addServingOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";

/** Longest a request may take; a client that wants out sooner interrupts it. */
const REQUEST_DEADLINE_MS = 24 * 3600 * 1000;

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
    .option("--json", "prints one JSON object a message instead of text");
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

const number = (option: string) => z.coerce.number({ error: `${option} must be a number` });
const whole = (option: string) =>
  number(option)
    .int({ error: `${option} must be a whole number` })
    .min(0, { error: `${option} must not be negative` })
    .max(0xffffffff, { error: `${option} is too large` });
const schema = z.object({
  prompt: z.string(),
  maxTokens: whole("--max-tokens").nullable().default(null),
  temperature: number("--temperature"),
  topK: whole("--top-k"),
  topP: number("--top-p"),
  minP: number("--min-p"),
  repeatPenalty: number("--repeat-penalty"),
  seed: z
    .string()
    .regex(/^\d{1,20}$/, { error: "--seed must be a whole number from 0 to 2^64 - 1" })
    .transform(BigInt)
    .refine((seed) => seed < 2n ** 64n, { error: "--seed must be a whole number from 0 to 2^64 - 1" })
    .nullable()
    .default(null),
  stop: z.array(z.string()).default([]),
  server: z.string().nullable().default(null),
  layers: z.boolean().default(false),
  json: z.boolean().default(false),
});
type GenerateOptions = z.infer<typeof schema>;

async function generate(command: Command): Promise<void> {
  const parsed = schema.safeParse(command.opts());
  if (!parsed.success) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      parsed.error.issues.map((issue) => issue.message).join("; "),
    );
  }
  const options = parsed.data;
  const interrupted = onceInterrupted();
  const stack = options.server === null ? await startPrivateStack(command, interrupted.signal) : null;
  try {
    await request(stack?.address ?? options.server ?? "", options, interrupted.signal);
  } catch (error) {
    // Ctrl-C is how a reader says "enough": what was generated stands.
    if (!interrupted.signal.aborted) throw error;
    process.stdout.write("\n");
    process.exitCode = 130;
  } finally {
    await stack?.stop();
    interrupted.release();
  }
}

async function request(address: string, options: GenerateOptions, signal: AbortSignal): Promise<void> {
  const channel = connect(address, "--server");
  const client = new GrpcClient(InferenceService, channel);
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
      { deadlineMs: REQUEST_DEADLINE_MS, signal },
    );
    const printer = options.json ? jsonPrinter() : textPrinter(options);
    for await (const { event } of responses) {
      if (event.case === "token") printer.token(event.value);
      else if (event.case === "summary") printer.summary(event.value);
    }
  } finally {
    channel.close();
  }
}

interface Printer {
  token(token: Token): void;
  summary(summary: GenerateSummary): void;
}

function textPrinter(options: GenerateOptions): Printer {
  process.stdout.write(options.prompt);
  return {
    token: ({ text }) => process.stdout.write(text),
    summary: (summary) => {
      process.stdout.write(`${summary.text}\n`);
      process.stderr.write(
        `${options.layers ? `\n${layerTable(summary.layers)}\n` : ""}\n${summaryLine(summary)}\n`,
      );
    },
  };
}

function jsonPrinter(): Printer {
  const print = (value: unknown) =>
    process.stdout.write(
      `${JSON.stringify(value, (key, field: unknown) => (key.startsWith("$") ? undefined : typeof field === "bigint" ? String(field) : field))}\n`,
    );
  return {
    token: (token) => print({ token }),
    summary: (summary) =>
      print({ summary: { ...summary, finishReason: FinishReason[summary.finishReason] } }),
  };
}

const FINISHED: Record<FinishReason, string> = {
  [FinishReason.UNSPECIFIED]: "ended",
  [FinishReason.END_OF_SEQUENCE]: "the model ended the text",
  [FinishReason.STOP]: "a stop string was met",
  [FinishReason.MAX_TOKENS]: "--max-tokens were generated",
  [FinishReason.CONTEXT_FULL]: "the context is full",
};

function summaryLine(summary: GenerateSummary): string {
  return [
    `${summary.promptTokens} prompt + ${summary.generatedTokens} generated tokens`,
    `first after ${formatSeconds(summary.timeToFirstTokenS)}`,
    `then ${summary.decodeTokensPerS.toFixed(1)} tokens/s`,
    `seed ${summary.seed}`,
    ...(summary.traceId === "" ? [] : [`trace ${summary.traceId}`]),
    FINISHED[summary.finishReason],
  ].join(", ");
}
