/** The command line of `npm run bench`. */
import { Argument, Command, Option } from "commander";
import { z } from "zod";
import { parseOptions, whole } from "../coordinator/cli/option-values.js";
import { addPredictorOption, predictorUse } from "../coordinator/cli/predictor-option.js";
import { parseBudget } from "../coordinator/cli/serving-options.js";
import { GPU_CHOICES } from "../coordinator/executors/choose-device.js";
import { predictorText } from "../coordinator/model/predictor.js";
import { ThermoclineError } from "../proto/errors.js";
import type { Device } from "./stack-under-test.js";

const MOST_RUNS = 10_000;
const MOST_TOKENS = 2 ** 20;
const MOST_THREADS = 1024;
const MOST_LAYERS = 1024;

/** "auto" is no device to compare. */
const DEVICES = GPU_CHOICES.filter((choice) => choice !== "auto");

function deviceList(text: string, context: z.RefinementCtx): Device[] {
  const names = text.split(",");
  const devices = DEVICES.filter((device) => names.includes(device));
  if (devices.length === names.length) return names as Device[];
  context.addIssue(`--gpu is "${text}"; give each once, with commas between, of: ${DEVICES.join(", ")}`);
  return z.NEVER;
}

const schema = z.object({
  runs: whole("--runs", 1, MOST_RUNS),
  tokens: whole("--tokens", 3, MOST_TOKENS),
  promptTokens: z
    .string()
    .transform((text) => text.split(","))
    .pipe(z.array(whole("--prompt-tokens", 1, MOST_TOKENS))),
  threads: whole("--threads", 1, MOST_THREADS).nullable().default(null),
  model: z.string().nullable().default(null),
  predictor: predictorUse(),
  gpu: z.string().transform(deviceList).nullable().default(null),
  vramBudget: z
    .string()
    .transform((text) => parseBudget(text))
    .nullable()
    .default(null),
  peer: z.enum(["llama.cpp"]).nullable().default(null),
  peerModel: z.string().nullable().default(null),
  peerGpuLayers: whole("--peer-gpu-layers", 0, MOST_LAYERS).nullable().default(null),
  json: z.boolean().default(false),
});
export type BenchOptions = z.infer<typeof schema>;

/** @param run does what was asked for; `benchmark` is one of `benchmarks` or "all" */
export function benchCommand(
  benchmarks: readonly string[],
  run: (benchmark: string, options: BenchOptions) => Promise<void>,
): Command {
  const command = new Command("bench")
    .description("Measures what this project states about its speed, on this machine.")
    .addArgument(
      new Argument("[benchmark]", "what to measure").choices([...benchmarks, "all"]).default("all"),
    )
    .option("--runs <n>", "measured turns of each contender", "15")
    .option("--tokens <n>", "tokens generated in a turn", "400")
    .option("--prompt-tokens <n,...>", "lengths of the prompts that prefill reads", "128")
    .option("--threads <n>", "threads of each contender (default: one a core)")
    .option("--model <file>", "GGUF or PWRI model (default: the bundled story model)");
  return addPredictorOption(command)
    .option(
      "--gpu <device,...>",
      "what hot neurons run on, one stack each (default: off,host; with a peer off)",
    )
    .option("--vram-budget <size>", "GPU memory to use, such as 8GiB (default: as thermocline serve has it)")
    .addOption(
      new Option("--peer <name>", "measures it as well, turn by turn with us").choices(["llama.cpp"]),
    )
    .option(
      "--peer-model <file>",
      "the peer's GGUF, of the model's shape and type (default: the model itself)",
    )
    .option(
      "--peer-gpu-layers <n>",
      "with --gpu cuda, the peer's layers on the card (default: the fastest number within the budget)",
    )
    .option("--json", "prints the report as JSON")
    .action((benchmark: string, raw: unknown) => {
      const options = parseOptions(schema, raw);
      const problem = problemWithPeer(options);
      if (problem !== null) throw new ThermoclineError("INVALID_ARGUMENT", problem);
      return run(benchmark, options);
    });
}

/** Whether the peer runs on a card as well. */
export function isOnCard({ peer, gpu }: Pick<BenchOptions, "peer" | "gpu">): boolean {
  return peer !== null && gpu?.[0] === "cuda";
}

function problemWithPeer(options: BenchOptions): string | null {
  const { peer, gpu, vramBudget, peerGpuLayers } = options;
  if (peer !== null && (gpu?.length ?? 0) > 1) {
    return "--peer is compared with one device; give --gpu one of them";
  }
  if (isOnCard(options)) {
    if (vramBudget !== null) return null;
    return "--peer with --gpu cuda is compared within one budget for each; give --vram-budget, at most half of what the card has free";
  }
  if (peerGpuLayers === null) return null;
  return `--peer-gpu-layers is ${peerGpuLayers} and nothing of the peer runs on a card; give --peer and --gpu cuda as well`;
}

/** The command that takes the same figures again. */
export function repeatingCommand(benchmark: string, options: BenchOptions): string {
  const given: [string, string | number | null][] = [
    ["--runs", options.runs],
    ["--tokens", options.tokens],
    ["--prompt-tokens", benchmark === "prefill" ? options.promptTokens.join(",") : null],
    ["--threads", options.threads],
    ["--model", options.model],
    ["--predictor", options.predictor === "auto" ? null : predictorText(options.predictor)],
    ["--gpu", options.gpu?.join(",") ?? null],
    ["--vram-budget", options.vramBudget],
    ["--peer", options.peer],
    ["--peer-model", options.peerModel],
    ["--peer-gpu-layers", options.peerGpuLayers],
  ];
  const flags = given.flatMap(([flag, value]) =>
    value === null ? [] : [`${flag} ${quoted(String(value))}`],
  );
  return ["npm run bench --", benchmark, ...flags].join(" ");
}

/** As a shell takes it for one word. */
function quoted(text: string): string {
  return /^[\w./,:=@+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
