/** The options that decide what is computed and on what, and those of a stack that serves it. */
import { resolve } from "node:path";
import { type Command, Option } from "commander";
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";
import { parseBytes } from "../../proto/units.js";
import type { ExecutionOptions } from "../execution.js";
import { GPU_CHOICES } from "../executors/choose-device.js";
import { bundledModelPath } from "../model/bundled.js";
import { DEFAULT_SLOTS, DEFAULT_TRACE_RATIO } from "../serving-defaults.js";
import type { StackOptions } from "../stack.js";
import { decimal, parseOptions, whole } from "./option-values.js";
import { addPredictorOption, predictorUse } from "./predictor-option.js";

/** For every command that runs a model. */
export function addExecutionOptions(command: Command): Command {
  return addExecutorOptions(addPredictorOption(addModelOptions(command))).addOption(
    new Option(
      "--profile <file>",
      "places neurons by this profile (default: the one beside the model, if there is one)",
    ).conflicts("placement"),
  );
}

/** For commands that run a model without its predictors. */
export function addExactExecutionOptions(command: Command): Command {
  return addExecutorOptions(addModelOptions(command));
}

function addExecutorOptions(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--gpu <device>",
        "what runs hot neurons; host simulates a card in RAM, emulated runs a card's kernels on the CPU (very slow)",
      )
        .choices(GPU_CHOICES)
        .default("auto"),
    )
    .option(
      "--vram-budget <size>",
      "GPU memory to use, such as 8GiB (default: what is free, but for a reserve; for host: half of the model)",
    )
    .option("--cpu-executors <n>", "CPU executor processes", "1")
    .option("--threads <n>", "threads of all executors together (default: one a core)")
    .option("--placement <file>", "follows a placement that `thermocline plan --save` wrote (default: plans)")
    .option("--no-repack", "computes from the model file's pages instead of a faster copy in memory");
}

/** For commands that take a model, and decide themselves what runs it. */
export function addModelOptions(command: Command): Command {
  return command
    .option("--model <file>", "GGUF or PWRI model (default: the bundled story model)")
    .addOption(
      new Option("--activation <name>", "overrides the file's FFN activation").choices([
        "relu",
        "relu2",
        "silu",
      ]),
    )
    .option(
      "--relu-threshold <t>",
      "overrides the file's: gates below it count as 0 (FATReLU); 0 is plain ReLU",
    );
}

/** For `serve`, and for commands that start one. */
export function addServingOptions(command: Command): Command {
  return addExecutionOptions(command)
    .option("--ctx <n>", "positions a request may use (default: the model's, at most 4096)")
    .option("--slots <n>", "requests that run at the same time", String(DEFAULT_SLOTS))
    .addOption(
      new Option(
        "--re-placement <mode>",
        "whether neurons move between the GPU and the CPUs, while requests run, as they turn out to fire",
      )
        .choices(["on", "off"])
        .default("on"),
    )
    .option(
      "--otlp-endpoint <url>",
      "sends traces and metrics there over OTLP/gRPC, such as http://127.0.0.1:4317",
    )
    .option("--trace-ratio <share>", "share of requests to trace, 0 to 1", String(DEFAULT_TRACE_RATIO));
}

/** Beyond any gate. */
const MOST_RELU_THRESHOLD = 1e6;

/** The shape behind {@link addModelOptions}, for schemas of commands that have more options. */
export const MODEL_SCHEMA = {
  model: z.string().nullable().default(null),
  activation: z.enum(["relu", "relu2", "silu"]).nullable().default(null),
  reluThreshold: decimal("--relu-threshold", 0, MOST_RELU_THRESHOLD).nullable().default(null),
};

/** The same behind {@link addExecutionOptions}. */
export const EXECUTION_SCHEMA = {
  ...MODEL_SCHEMA,
  predictor: predictorUse(),
  gpu: z.enum(GPU_CHOICES),
  vramBudget: z.string().nullable().default(null),
  cpuExecutors: whole("--cpu-executors", 1, 64),
  threads: whole("--threads", 1, 1024).nullable().default(null),
  placement: z.string().nullable().default(null),
  profile: z
    .string()
    .min(1, "--profile is empty; give the path of a profile, or leave it out")
    .nullable()
    .default(null),
  repack: z.boolean().default(true),
};

/** The same behind {@link addExactExecutionOptions}. */
export const EXACT_EXECUTION_SCHEMA = { ...EXECUTION_SCHEMA, predictor: z.literal("off").default("off") };

const schema = z.object({
  ...EXECUTION_SCHEMA,
  ctx: whole("--ctx", 2, 2 ** 20)
    .nullable()
    .default(null),
  slots: whole("--slots", 1, 256),
  rePlacement: z.enum(["on", "off"]),
  executor: z.array(z.string()).default([]),
  otlpEndpoint: z.string().nullable().default(null),
  traceRatio: decimal("--trace-ratio", 0, 1),
  liveProfile: z
    .union([
      z.literal(true),
      z.string().min(1, "--live-profile is empty; give the path of a profile, or none"),
    ])
    .nullable()
    .default(null),
});

/** Checks what commander collected. @throws ThermoclineError INVALID_ARGUMENT */
export function parseServingOptions(raw: unknown): StackOptions {
  const options = parseOptions(schema, raw);
  return {
    ...executionOptions(options),
    contextLength: options.ctx,
    slots: options.slots,
    rePlacement: options.rePlacement === "on",
    executorAddresses: options.executor,
    otlpEndpoint: options.otlpEndpoint === null ? null : parseEndpoint(options.otlpEndpoint),
    traceRatio: options.traceRatio,
    liveProfile: options.liveProfile,
  };
}

/** @throws ThermoclineError INVALID_ARGUMENT */
export function executionOptions(
  options: z.infer<z.ZodObject<typeof EXECUTION_SCHEMA | typeof EXACT_EXECUTION_SCHEMA>>,
): ExecutionOptions {
  return {
    modelPath: options.model ?? bundledModelPath(),
    activation: options.activation,
    reluThreshold: options.reluThreshold,
    predictor: options.predictor,
    gpu: options.gpu,
    vramBudgetBytes: options.vramBudget === null ? null : parseBudget(options.vramBudget),
    cpuExecutors: options.cpuExecutors,
    threads: options.threads,
    repack: options.repack,
    placementPath: options.placement === null ? null : resolve(options.placement),
    executorAddresses: [],
    profilePath: options.profile === null ? null : resolve(options.profile),
  };
}

/** To executors a budget of 0 means none, which is nothing a person would mean by it. */
export function parseBudget(text: string): number {
  const bytes = parseBytes(text, "--vram-budget");
  if (bytes > 0) return bytes;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `--vram-budget is "${text}"; give at least one byte, or --gpu off to run without a GPU executor`,
  );
}

function parseEndpoint(text: string): string {
  if (URL.canParse(text) && /^https?:\/\//.test(text)) return text;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `--otlp-endpoint is "${text}"; give the URL of an OTLP/gRPC receiver, such as http://127.0.0.1:4317`,
  );
}
