/** What every command that runs a model has in common: the model, and the executors that compute it. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import type { Activation, ExecutorKind, Observation } from "../native/index.js";
import { parseAddress } from "../proto/address.js";
import { formatBytes } from "../proto/units.js";
import { ExecutorGroup, GROUP_DEFAULTS } from "./executors/group.js";
import type { GroupState } from "./executors/group-state.js";
import type { ExecutorSource } from "./executors/member.js";
import { chooseDevice, type GpuChoice, planExecutors } from "./executors/spawn-plan.js";
import { relay } from "./log.js";
import { loadModel } from "./model/load-model.js";
import type { Model } from "./model/model.js";
import { type PredictorUse, withPredictor } from "./model/predictor.js";
import { place, type ServingSizes } from "./placement/place.js";
import type { Profile } from "./placement/profile.js";
import type { StepLimits } from "./schedule/step.js";
import { hostBudgetBytes } from "./serving-defaults.js";

/** What is computed. */
export interface ModelOptions {
  modelPath: string;
  /** null takes the file's own. */
  activation: Activation | null;
  /** Gates below it count as 0; null takes the file's own. */
  reluThreshold: number | null;
  predictor: PredictorUse;
}

/** What computes it. */
export interface ExecutorOptions {
  gpu: GpuChoice;
  /** null takes half of what the model needs. */
  vramBudgetBytes: number | null;
  cpuExecutors: number;
  /** Threads of all executors together; null takes one a CPU. */
  threads: number | null;
  /** Whether CPU executors copy weights into a faster layout, or compute from the model file's pages. */
  repack: boolean;
  /** Executors that others started; when there are any, none is spawned. */
  executorAddresses: readonly string[];
}

export interface ExecutionOptions extends ModelOptions, ExecutorOptions {}

/** @throws ThermoclineError */
export async function openModel(options: ModelOptions): Promise<Model> {
  return withPredictor(await loadModel(options.modelPath, options), options.predictor);
}

/** Each kind's program. */
export type ExecutorEntries = Record<ExecutorKind, string>;

const DIST = dirname(dirname(fileURLToPath(import.meta.url)));
export const BUILT_ENTRIES: ExecutorEntries = {
  cpu: join(DIST, "cpu-executor/main.js"),
  gpu: join(DIST, "gpu-executor/main.js"),
};

export function executorSources(
  options: ExecutorOptions,
  model: Model,
  sizes: ServingSizes,
  log: Logger,
  entries: ExecutorEntries = BUILT_ENTRIES,
): { name: string; source: ExecutorSource }[] {
  if (options.executorAddresses.length > 0) {
    return options.executorAddresses.map((text, index) => ({
      name: `executor-${index}`,
      source: { kind: "address", address: parseAddress(text, "--executor") },
    }));
  }
  const { device, note } = chooseDevice(options.gpu);
  if (note !== null) log.warn(note);
  if (device === "off" && options.vramBudgetBytes !== null)
    log.warn("--vram-budget has no effect: there is no GPU executor");
  const vramBudgetBytes = options.vramBudgetBytes ?? hostBudgetBytes(model, sizes);
  if (device === "host") log.info(`the host device simulates a card with ${formatBytes(vramBudgetBytes)}`);
  return planExecutors({ ...options, vramBudgetBytes }, device).map(({ name, kind, args }) => ({
    name,
    source: {
      kind: "spawn",
      executor: kind,
      entry: entries[kind],
      args: [...args, "--log-level", log.level],
    },
  }));
}

/** Prompt rows of a large model take minutes on a slow machine, and whoever waits can interrupt. */
const STEP_TIMEOUT_MS = 3_600_000;

export interface PrivateExecutors {
  model: Model;
  options: ExecutorOptions;
  limits: StepLimits;
  /** What executors record of observed steps; nothing by default. */
  observation?: Observation;
  profile: Profile | null;
  entries: ExecutorEntries;
  log: Logger;
  onState: (state: GroupState) => void;
  /** Closes the executors at once when aborted: what runs on them is rejected. */
  signal: AbortSignal | null;
}

/**
 * Runs `work` on executors that are there for it alone, without a server in between.
 *
 * @throws ThermoclineError as executors do, or what `work` throws
 */
export async function withExecutors<T>(
  { model, options, limits, observation = GROUP_DEFAULTS.observation, profile, ...rest }: PrivateExecutors,
  work: (group: ExecutorGroup) => Promise<T>,
): Promise<T> {
  const { entries, log, onState, signal } = rest;
  signal?.throwIfAborted();
  const group = new ExecutorGroup({
    ...GROUP_DEFAULTS,
    observation,
    stepTimeoutMs: STEP_TIMEOUT_MS,
    executors: executorSources(options, model, limits, log, entries),
    model,
    limits,
    plan: (executors) => place(model, executors, limits, profile),
    log,
    onExecutorLog: (executor, line) => relay(log, executor, line),
    onState,
  });
  const close = () => void group.close();
  signal?.addEventListener("abort", close, { once: true });
  try {
    await group.open();
    return await work(group);
  } finally {
    signal?.removeEventListener("abort", close);
    await group.close();
  }
}
