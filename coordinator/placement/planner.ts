/** How every command that runs a model gets its placement: from a file, from the cache, or solved for. */
import type { Schedule } from "../../native/index.js";
import type { Model } from "../model/model.js";
import { estimateMachine } from "./estimate-machine.js";
import { computerIdentity, kernelIdentity, modelIdentity, profileDigest } from "./identity.js";
import type { PlacementMachine } from "./machine.js";
import { DEFAULT_GROUP_SIZE, type Placed, type PlaceInputs, place, placeAs } from "./place.js";
import { readPlacement } from "./placement-file.js";
import { cacheKey, type KnownMachine, PlanCache } from "./plan-cache.js";
import { predict } from "./problem.js";
import type { Profile } from "./profile.js";
import type { PlacementExecutor } from "./schedule.js";
import type { ServingSizes } from "./sizes.js";
import type { SolveOptions } from "./solve.js";

/** What a start lets the solver do (docs/decisions/placement.md has its times), and how long it waits at most. */
const SOLVER_ITERATIONS = 2000;
const SOLVER_LIMIT_MS = 20_000;
/** It does not wait for less than this. */
const NOT_WORTH_WAITING = 0.002;

export interface PlannerOptions {
  model: Model;
  sizes: ServingSizes;
  profile: Profile | null;
  /** A file of `plan --save` to follow; null plans. */
  placementPath: string | null;
  /** Null keeps nothing. */
  cacheFolder: string | null;
  log: { info: (line: string) => void; warn: (line: string) => void };
  /** Runs the solver; see {@link SolveOptions}. */
  run?: SolveOptions["run"];
}

/** @throws ThermoclineError as {@link place} and {@link readPlacement} do */
export async function planFor(
  executors: readonly PlacementExecutor[],
  { model, sizes, profile, placementPath, cacheFolder, log, run }: PlannerOptions,
): Promise<Schedule> {
  if (placementPath !== null) return readPlacement(placementPath, model, executors, sizes);
  const cache = cacheFolder === null ? null : new PlanCache(cacheFolder, (line) => log.warn(line));
  const hasGpu = executors.some(({ kind }) => kind === "gpu");
  const known = hasGpu ? await knownMachine(model, executors, cache) : { machine: NO_GPU, uniformShare: 1 };
  const inputs: PlaceInputs = {
    ...{ model, executors, sizes, profile, ...known },
    groupSize: DEFAULT_GROUP_SIZE,
    position: null,
  };
  const placed = await placeCached(inputs, cache, {
    iterations: SOLVER_ITERATIONS,
    limitMs: SOLVER_LIMIT_MS,
    enough: NOT_WORTH_WAITING,
    signal: null,
    ...(run === undefined ? {} : { run }),
  });
  if (hasGpu) log.info(summary(placed, known.machine));
  return placed.schedule;
}

/** What `thermocline plan` measured, or else an estimate. */
export async function knownMachine(
  model: Model,
  executors: readonly PlacementExecutor[],
  cache: PlanCache | null,
): Promise<KnownMachine> {
  const key = machineKey(model, executors);
  const known = (await cache?.read("measured", key)) ?? (await cache?.read("estimated", key)) ?? null;
  if (known !== null) return known;
  // Nobody knows how many neurons fire, so all of them are provided for.
  const estimate = { machine: await estimateMachine(executors, model.fileBytes), uniformShare: 1 };
  cache?.write("estimated", key, estimate);
  return estimate;
}

export function machineKey(model: Model, executors: readonly PlacementExecutor[]): string {
  return cacheKey([computerIdentity(executors), kernelIdentity(model)]);
}

/** {@link place}, unless it was solved for before with no less work. What a slow moment made of it is not kept. */
export async function placeCached(
  inputs: PlaceInputs,
  cache: PlanCache | null,
  options: Parameters<typeof place>[1],
): Promise<Placed> {
  const { model, executors, sizes, profile, machine, uniformShare, groupSize, position } = inputs;
  const key = cacheKey([
    modelIdentity(model),
    profileDigest(profile),
    ...[machine, uniformShare, groupSize, position, sizes],
    executors.map(({ kind, device, budgetBytes, threads }) => [kind, device, budgetBytes, threads]),
  ]);
  const { iterations } = options;
  const known = (await cache?.read("plan", key)) ?? null;
  if (known !== null && (known.outcome === "optimal" || known.iterations >= iterations)) {
    const placed = placeAs(inputs, known.choice);
    const { method, outcome, leastS, priceSPerByte } = known;
    if (placed !== null) {
      return { ...placed, solution: { method, outcome, failure: null, leastS, priceSPerByte, solverMs: 0 } };
    }
  }
  const placed = await place(inputs, options);
  if (placed.solution !== null) {
    const { method, outcome, leastS, priceSPerByte } = placed.solution;
    if (outcome !== "out-of-time" && outcome !== "failed") {
      const { choice } = placed;
      cache?.write("plan", key, { choice, method, outcome, iterations, leastS, priceSPerByte });
    }
  }
  return placed;
}

function summary({ choice, problem, solution }: Placed, { source }: PlacementMachine): string {
  const { totalS, hotShare, layers } = predict(problem, choice);
  const owned = layers.filter(({ owner }) => owner === "gpu").length;
  const how =
    solution === null
      ? "nothing to decide"
      : `${solution.method}, ${solution.outcome}, ${solution.solverMs.toFixed(0)} ms`;
  return (
    `placement (${how}; machine ${source}): ${owned} of ${layers.length} layers' attention and ` +
    `${(100 * hotShare).toFixed(0)} % of the active neurons on the GPU executor` +
    // An estimate compares placements, and is no prediction.
    (source === "measured" ? `, ${(1 / totalS).toFixed(1)} tokens/s predicted` : "")
  );
}

/** Without a GPU executor there is nothing that a machine would decide. */
const NO_GPU: PlacementMachine = {
  format: "thermocline-machine-1",
  name: "any",
  source: "estimated",
  note: "",
  gpu: {
    name: "none",
    bytesPerS: 1,
    kernels: [{ type: "any", stage: "any", share: 1 }],
    startUs: 0,
    memoryBytes: 1,
    reserveBytes: 0,
  },
  cpu: { name: "any", bytesPerS: 1, kernels: [{ type: "any", stage: "any", share: 1 }], startUs: 0 },
  handOverUs: 0,
  residualUs: 0,
  stepUs: 0,
  contention: 0,
};
