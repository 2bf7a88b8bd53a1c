/** What `thermocline plan` does: finds out about the machine, places the model, and looks at what more would bring. */

import { ThermoclineError } from "../proto/errors.js";
import { type CpuTime, cpuTime, othersShare } from "./cpu-time.js";
import {
  BUILT_ENTRIES,
  type ExecutionOptions,
  type ExecutorEntries,
  gpuBudgetBytes,
  openModel,
} from "./execution.js";
import { chooseDevice } from "./executors/choose-device.js";
import { planExecutors } from "./executors/spawn-plan.js";
import { measureMachine } from "./measure-machine.js";
import type { Model } from "./model/model.js";
import { loadMachine } from "./placement/machine.js";
import { type Placed, type PlaceInputs, type PlaceOptions, place } from "./placement/place.js";
import { cacheFolder, type KnownMachine, PlanCache } from "./placement/plan-cache.js";
import { machineKey, placeCached } from "./placement/planner.js";
import { loadProfile, type Profile } from "./placement/profile.js";
import type { PlacementExecutor } from "./placement/schedule.js";
import { limitsFor } from "./serving-defaults.js";

/** What the solver may do when a person waits for the best, and how long that may take. */
const SOLVER_ITERATIONS = 5000;
const SOLVER_LIMIT_MS = 60_000;
/** Budgets to compare with, as shares of the one asked for. */
const LARGER = [1.25, 1.5, 2];
/** Others that have more of the CPUs make a measurement worse than none. */
const MOST_OTHERS = 0.15;

export interface PlanOptions extends ExecutionOptions {
  /** A machine file, or the name of a machine that comes along; null measures this one. */
  machine: string | null;
  /** Measures although it is known. */
  remeasure: boolean;
  contextLength: number | null;
  slots: number;
  groupSize: number;
  position: number | null;
}

export interface PlanReport {
  model: Model;
  profile: Profile | null;
  executors: readonly PlacementExecutor[];
  known: KnownMachine;
  placed: Placed;
  inputs: PlaceInputs;
  position: number;
  /** What larger budgets would bring. */
  larger: { budgetBytes: number; totalS: number }[];
}

export interface PlanWatch {
  /** @param limitMs when it ends at the latest, if that is known */
  onStage: (text: string, limitMs?: number) => void;
  warn: (line: string) => void;
  signal: AbortSignal;
  entries?: ExecutorEntries;
  /** Runs the solver. */
  run?: PlaceOptions["run"];
  cacheFolder?: string;
  /** Whose CPU time it was, up to now. */
  cpuTime?: () => CpuTime;
}

/** @throws ThermoclineError, or the signal's reason */
export async function runPlan(options: PlanOptions, watch: PlanWatch): Promise<PlanReport> {
  const { onStage, signal, warn } = watch;
  onStage("reading the model");
  const model = await openModel(options);
  const sizes = limitsFor(model, options);
  const profile = await loadProfile(model, options.profilePath);
  const cache = new PlanCache(watch.cacheFolder ?? cacheFolder(), warn);
  const { executors, known } =
    options.machine === null
      ? await thisMachine(options, model, profile, sizes, cache, watch)
      : await describedMachine(options.machine, options);
  const { groupSize, position } = options;
  const inputs: PlaceInputs = { model, executors, sizes, profile, ...known, groupSize, position };
  const run = watch.run === undefined ? {} : { run: watch.run };
  onStage("solving for the placement", SOLVER_LIMIT_MS);
  const limits = { iterations: SOLVER_ITERATIONS, limitMs: SOLVER_LIMIT_MS, enough: 0 };
  const placed = await placeCached(inputs, cache, { ...limits, signal, ...run });
  onStage("comparing with larger budgets");
  const larger = await withLargerBudgets(inputs, signal);
  return {
    ...{ model, profile, executors, known, placed, inputs, larger },
    position: position ?? Math.floor(sizes.contextLength / 2),
  };
}

/** The executors that `serve` would start with the same options, and what they can do. */
async function thisMachine(
  options: PlanOptions,
  model: Model,
  profile: Profile | null,
  sizes: ReturnType<typeof limitsFor>,
  cache: PlanCache,
  { onStage, signal, warn, entries = BUILT_ENTRIES, cpuTime: now = cpuTime }: PlanWatch,
): Promise<{ executors: PlacementExecutor[]; known: KnownMachine }> {
  const chosen = await chooseDevice(options.gpu);
  const { device, card, note } = chosen;
  if (device === "off") {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `${note ?? "--gpu off leaves no GPU executor"}, so there is nothing to place; plan for another machine with ` +
        "--machine, or for a simulated card with --gpu host",
    );
  }
  const budgetBytes = gpuBudgetBytes(chosen, options.vramBudgetBytes, model, sizes);
  const executors = planExecutors({ ...options, vramBudgetBytes: budgetBytes }, device).map(
    ({ kind, args }): PlacementExecutor => ({
      kind,
      device: kind === "gpu" ? device : "cpu",
      card: kind === "gpu" ? (card?.name ?? null) : null,
      budgetBytes: kind === "gpu" ? budgetBytes : 0,
      threads: Number(args[args.indexOf("--threads") + 1]),
    }),
  );
  const key = machineKey(model, executors);
  const found = options.remeasure ? null : await cache.read("measured", key);
  if (found !== null) return { executors, known: found };
  const before = now();
  const known = await measureMachine({ model, profile, options, entries, onStage, signal }).catch((error) => {
    if (signal.aborted) throw signal.reason;
    throw error;
  });
  const others = othersShare(before, now());
  if (others <= MOST_OTHERS) cache.write("measured", key, known);
  else {
    warn(
      `other processes took ${(100 * others).toFixed(0)} % of the CPUs while this machine was measured, so what was ` +
        "measured is used for this plan only; plan again when the machine is quiet",
    );
  }
  if (known.machine.gpu.bytesPerS <= 0) warn("the GPU executor's speed could not be measured");
  return { executors, known };
}

async function describedMachine(
  nameOrPath: string,
  { vramBudgetBytes, cpuExecutors, threads }: PlanOptions,
): Promise<{ executors: PlacementExecutor[]; known: KnownMachine }> {
  const machine = await loadMachine(nameOrPath);
  const { memoryBytes, reserveBytes } = machine.gpu;
  const budgetBytes = vramBudgetBytes ?? memoryBytes - reserveBytes;
  if (budgetBytes <= 0 || budgetBytes > memoryBytes) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `the budget is ${budgetBytes} bytes, and ${machine.gpu.name} has ${memoryBytes}, of which ${reserveBytes} are ` +
        "reserved; give a --vram-budget between",
    );
  }
  const cpus = Array.from({ length: cpuExecutors }, (): PlacementExecutor => {
    return { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: Math.max(1, threads ?? 1) };
  });
  const gpu: PlacementExecutor = {
    kind: "gpu",
    device: "cuda",
    card: machine.gpu.name,
    budgetBytes,
    threads: 1,
  };
  return { executors: [gpu, ...cpus], known: { machine, uniformShare: 1 } };
}

/** By the greedy method, which is within a percent. */
async function withLargerBudgets(inputs: PlaceInputs, signal: AbortSignal): Promise<PlanReport["larger"]> {
  const results: PlanReport["larger"] = [];
  const budget = inputs.executors.find(({ kind }) => kind === "gpu")?.budgetBytes ?? 0;
  for (const share of budget === 0 ? [] : LARGER) {
    const budgetBytes = Math.floor(budget * share);
    const executors = inputs.executors.map((executor) =>
      executor.kind === "gpu" ? { ...executor, budgetBytes } : executor,
    );
    const greedily = { iterations: 0, limitMs: 0, enough: 0, signal };
    const { prediction } = await place({ ...inputs, executors }, greedily);
    results.push({ budgetBytes, totalS: prediction.totalS });
  }
  return results;
}
