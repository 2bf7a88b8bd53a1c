/** What every command that runs a model has in common: the model, and the executors that compute it. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Logger } from "pino";
import type { Activation, ExecutorKind, Observation } from "../native/index.js";
import { parseAddress } from "../proto/address.js";
import { formatBytes } from "../proto/units.js";
import {
  type ChosenDevice,
  cardBudgetBytes,
  chooseDevice,
  type GpuChoice,
} from "./executors/choose-device.js";
import { ExecutorGroup, GROUP_DEFAULTS, type Planner } from "./executors/group.js";
import type { GroupState } from "./executors/group-state.js";
import type { ExecutorSource } from "./executors/member.js";
import { planExecutors } from "./executors/spawn-plan.js";
import { relay } from "./log.js";
import { loadModel } from "./model/load-model.js";
import type { Model } from "./model/model.js";
import { type PredictorUse, withPredictor } from "./model/predictor.js";
import { cacheFolder } from "./placement/plan-cache.js";
import { planFor } from "./placement/planner.js";
import type { Profile } from "./placement/profile.js";
import type { ServingSizes } from "./placement/sizes.js";
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
  /** null takes what a card has, and half of what the model needs where none is real. */
  vramBudgetBytes: number | null;
  cpuExecutors: number;
  /** Threads of all executors together; null takes one a CPU. */
  threads: number | null;
  /** Whether CPU executors copy weights into a faster layout, or compute from the model file's pages. */
  repack: boolean;
  /** A placement that `thermocline plan --save` wrote; null plans. */
  placementPath: string | null;
  /** Executors that others started; when there are any, none is spawned. */
  executorAddresses: readonly string[];
}

export interface ExecutionOptions extends ModelOptions, ExecutorOptions {
  /** The profile that placement goes by; null takes the one beside the model, if there is one. */
  profilePath: string | null;
}

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

/** Of the GPU executor. @throws ThermoclineError RESOURCE_EXHAUSTED when the card does not have so much */
export function gpuBudgetBytes(
  { card }: ChosenDevice,
  asked: number | null,
  model: Model,
  sizes: ServingSizes,
): number {
  return card === null ? (asked ?? hostBudgetBytes(model, sizes)) : cardBudgetBytes(card, asked);
}

/** @throws ThermoclineError as {@link chooseDevice} and {@link gpuBudgetBytes} do */
export async function executorSources(
  options: ExecutorOptions,
  model: Model,
  sizes: ServingSizes,
  log: Logger,
  entries: ExecutorEntries = BUILT_ENTRIES,
): Promise<{ name: string; source: ExecutorSource }[]> {
  if (options.executorAddresses.length > 0) {
    return options.executorAddresses.map((text, index) => ({
      name: `executor-${index}`,
      source: { kind: "address", address: parseAddress(text, "--executor") },
    }));
  }
  const chosen = await chooseDevice(options.gpu);
  const { device, card, note } = chosen;
  if (note !== null) log.warn(note);
  if (device === "off" && options.vramBudgetBytes !== null)
    log.warn("--vram-budget has no effect: there is no GPU executor");
  const vramBudgetBytes = gpuBudgetBytes(chosen, options.vramBudgetBytes, model, sizes);
  if (card !== null) log.info(`${card.name}: ${formatBytes(vramBudgetBytes)} of its memory may be used`);
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

/** How executors of these options are told who computes what. */
export function plannerFor({
  model,
  options,
  limits,
  profile,
  log,
}: Pick<PrivateExecutors, "model" | "options" | "limits" | "profile" | "log">): Planner {
  const { placementPath } = options;
  const planner = { model, sizes: limits, profile, placementPath, cacheFolder: cacheFolder(), log };
  return (executors) => planFor(executors, planner);
}

/** Prompt rows of a large model take minutes on a slow machine, and whoever waits can interrupt. */
const STEP_TIMEOUT_MS = 3_600_000;

export interface PrivateExecutors {
  model: Model;
  options: ExecutorOptions;
  limits: StepLimits;
  profile: Profile | null;
  /** What executors record of observed steps. */
  observation: Observation;
  entries: ExecutorEntries;
  log: Logger;
  onState: (state: GroupState) => void;
  /** Closes the executors at once when aborted: what runs on them is rejected. */
  signal: AbortSignal | null;
  /** Instead of {@link plannerFor}. */
  plan?: Planner;
}

/**
 * Runs `work` on executors that are there for it alone, without a server in between.
 *
 * @throws ThermoclineError as executors do, or what `work` throws
 */
export async function withExecutors<T>(
  { model, options, limits, profile, observation, entries, log, onState, signal, plan }: PrivateExecutors,
  work: (group: ExecutorGroup) => Promise<T>,
): Promise<T> {
  signal?.throwIfAborted();
  const group = new ExecutorGroup({
    ...GROUP_DEFAULTS,
    stepTimeoutMs: STEP_TIMEOUT_MS,
    executors: await executorSources(options, model, limits, log, entries),
    model,
    limits,
    observation,
    plan: plan ?? plannerFor({ model, options, limits, profile, log }),
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
