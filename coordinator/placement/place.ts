/**
 * Decides who computes what, so that a step takes the least predicted time and the GPU executor's memory is never
 * exceeded by a byte: what is solved for goes by sums of parts, and whether it fits is asked of the function by which
 * the executor reserves its memory.
 */
import type { MemoryNeeds, Schedule } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { formatBytes } from "../../proto/units.js";
import type { Model } from "../model/model.js";
import { toProblem } from "./cost-model.js";
import { costTable } from "./cost-table.js";
import { fill, shrink } from "./fill.js";
import { type Footprint, footprintOf, totalBytes } from "./footprint.js";
import { placeGreedily } from "./greedy.js";
import { type Heat, heatOf } from "./heat.js";
import type { PlacementMachine } from "./machine.js";
import { allCold, type Choice, type PlacementProblem, type Prediction, predict, stepS } from "./problem.js";
import type { Profile } from "./profile.js";
import { allHot, needsOf, type PlacementExecutor, scheduleOf } from "./schedule.js";
import type { ServingSizes } from "./sizes.js";
import { type Solution, type SolveOptions, solve } from "./solve.js";

export const DEFAULT_GROUP_SIZE = 64;

export interface PlaceInputs {
  model: Model;
  /** At most one of kind `gpu`. */
  executors: readonly PlacementExecutor[];
  sizes: ServingSizes;
  profile: Profile | null;
  machine: PlacementMachine;
  /** The share of neurons that fire, where no profile tells each one's; 1 where it is not known. */
  uniformShare: number;
  groupSize: number;
  /** Positions before the token whose time counts; null takes half of the context. */
  position: number | null;
}

export type PlaceOptions = SolveOptions;

/** A decision, with what it goes by. */
export interface Placed {
  schedule: Schedule;
  choice: Choice;
  heat: Heat;
  problem: PlacementProblem;
  prediction: Prediction;
  /** How it was found; null where there was nothing to decide. */
  solution: Omit<Solution, "choice"> | null;
  /** Of the GPU executor; null without one. */
  needs: MemoryNeeds | null;
}

/** What is asked where there is none, and has no effect. */
const NO_GPU = { device: "host", threads: 1 };

/** Rounds in which what is solved for and what the executor reserves come together. */
const ROUNDS = 6;

/**
 * The same inputs give the same placement, or another one if the solver runs out of time; see {@link solve}.
 *
 * @throws ThermoclineError RESOURCE_EXHAUSTED when the GPU executor's budget holds no part of the model, or not all of
 *   it and there is no CPU executor; UNIMPLEMENTED for several GPU executors; the signal's reason
 */
export async function place(inputs: PlaceInputs, options: PlaceOptions): Promise<Placed> {
  const placement = new Placement(inputs);
  if (placement.gpu === null) return placement.placed(allCold(placement.problem), null);
  const everything = allHot(placement.heat);
  if (placement.cpus === 0) {
    const bytes = placement.bytes(everything);
    if (bytes <= placement.budgetBytes) return placement.placed(everything, null);
    throw new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `the model needs ${formatBytes(bytes)} on the GPU executor, whose budget is ` +
        `${formatBytes(placement.budgetBytes)}, and there is no CPU executor for the rest: add one or raise --vram-budget`,
    );
  }
  placement.checkLeast();
  placement.settleScratch();
  const { choice, ...solution } = await solve(placement.problem, options);
  return placement.placed(placement.repaired(choice), solution);
}

/** What a choice that was made before comes to; null when it does not fit any more. */
export function placeAs(inputs: PlaceInputs, choice: Choice): Placed | null {
  const placement = new Placement(inputs);
  const { layers } = placement.heat;
  const isSound =
    choice.layers.length === layers.length &&
    choice.layers.every(({ hot }, index) => hot >= 0 && hot <= (layers[index]?.sizes.length ?? 0));
  if (!isSound || placement.gpu === null || placement.cpus === 0) return null;
  return placement.bytes(choice) <= placement.budgetBytes ? placement.placed(choice, null) : null;
}

class Placement {
  readonly heat: Heat;
  /** The GPU executor; null when there is none. */
  readonly gpu: PlacementExecutor | null;
  readonly cpus: number;
  readonly budgetBytes: number;
  problem: PlacementProblem;
  private readonly gpuIndex: number;
  private readonly footprint: Footprint;

  constructor(private readonly inputs: PlaceInputs) {
    const { model, executors, sizes, profile, machine, uniformShare, groupSize, position } = inputs;
    const gpus = executors.filter(({ kind }) => kind === "gpu");
    if (gpus.length > 1) {
      throw new ThermoclineError(
        "UNIMPLEMENTED",
        "placement over several GPU executors is not there yet: give one",
      );
    }
    this.gpu = gpus[0] ?? null;
    this.gpuIndex = executors.findIndex(({ kind }) => kind === "gpu");
    this.cpus = executors.length - gpus.length;
    this.budgetBytes = this.gpu?.budgetBytes || Number.POSITIVE_INFINITY;
    this.heat = heatOf(model, profile, groupSize, uniformShare);
    this.footprint = footprintOf(model, sizes, this.gpu ?? NO_GPU);
    const cpuThreads = executors.flatMap(({ kind, threads }) => (kind === "cpu" ? [threads] : []));
    const allCpuThreads = cpuThreads.reduce((sum, threads) => sum + threads, 0);
    this.problem = toProblem({
      model,
      heat: this.heat,
      footprint: this.footprint,
      machine,
      budgetBytes: this.budgetBytes,
      scratchBytes: this.footprint.scratchBytes,
      position: position ?? Math.floor(sizes.contextLength / 2),
      firstCpuShare: (cpuThreads[0] ?? 1) / Math.max(allCpuThreads, 1),
      cpuExecutors: this.cpus,
    });
  }

  /** Of the GPU executor. */
  needs(choice: Choice): MemoryNeeds {
    const { model, executors, sizes } = this.inputs;
    const schedule = scheduleOf(model, this.heat, choice, executors);
    return needsOf(model, schedule, this.gpuIndex, this.gpu ?? NO_GPU, sizes);
  }

  bytes(choice: Choice): number {
    return totalBytes(this.needs(choice));
  }

  placed(choice: Choice, solution: Placed["solution"]): Placed {
    const { model, executors } = this.inputs;
    return {
      schedule: scheduleOf(model, this.heat, choice, executors),
      choice,
      heat: this.heat,
      problem: this.problem,
      prediction: predict(this.problem, choice),
      solution,
      needs: this.gpu === null ? null : this.needs(choice),
    };
  }

  /** @throws ThermoclineError RESOURCE_EXHAUSTED when nothing at all fits */
  checkLeast(): void {
    const none = allCold(this.problem);
    const attention: Choice = { ...none, layers: none.layers.with(0, { owner: "gpu", hot: 0 }) };
    const group: Choice = { ...none, layers: none.layers.with(0, { owner: "cpu", hot: 1 }) };
    const [attentionBytes, groupBytes] = [this.bytes(attention), this.bytes(group)];
    if (Math.min(attentionBytes, groupBytes) <= this.budgetBytes) return;
    throw new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `a VRAM budget of ${formatBytes(this.budgetBytes)} is too small for this model: one layer's attention, KV cache ` +
        `and scratch take ${formatBytes(attentionBytes)}, ${this.heat.layers[0]?.sizes[0]} neurons and scratch take ` +
        `${formatBytes(groupBytes)}; raise --vram-budget, lower --ctx or --slots, or use --gpu off`,
    );
  }

  /** Scratch depends on what is placed: much less than all of it where the budget is small. */
  settleScratch(): void {
    if (!Number.isFinite(this.budgetBytes)) return;
    for (let round = 0; round < ROUNDS; round++) {
      const { scratchBytes } = this.needs(placeGreedily(this.problem).choice);
      const budgetBytes = Math.max(0, this.budgetBytes - scratchBytes);
      if (Math.abs(budgetBytes - this.problem.budgetBytes) < budgetBytes / 1000) return;
      this.problem = { ...this.problem, budgetBytes };
    }
  }

  /** The choice, with what the sums of parts left over or overlooked; it fits to the byte. */
  repaired(choice: Choice): Choice {
    if (!Number.isFinite(this.budgetBytes)) return choice;
    const table = costTable(this.problem);
    let best = allCold(this.problem);
    let next = choice;
    for (let round = 0; round < ROUNDS; round++) {
      const left = this.budgetBytes - this.bytes(next);
      if (left >= 0 && stepS(this.problem, next) < stepS(this.problem, best)) best = next;
      const used = predict(this.problem, next).gpuBytes;
      const problem = { ...this.problem, budgetBytes: used + left };
      const changed = left < 0 ? shrink(problem, table, next) : fill(problem, table, next);
      if (JSON.stringify(changed) === JSON.stringify(next)) break;
      next = changed;
    }
    while (this.bytes(next) > this.budgetBytes) {
      const { gpuBytes } = predict(this.problem, next);
      if (gpuBytes === 0) return best;
      next = shrink({ ...this.problem, budgetBytes: gpuBytes - 1 }, table, next);
    }
    return stepS(this.problem, next) < stepS(this.problem, best) ? next : best;
  }
}

/** Bytes a GPU executor of one thread would need to hold the whole model. */
export function wholeModelBytes(model: Model, sizes: ServingSizes): number {
  const heat = heatOf(model, null, DEFAULT_GROUP_SIZE, 1);
  const schedule = scheduleOf(model, heat, allHot(heat), [{ kind: "gpu" }]);
  return totalBytes(needsOf(model, schedule, 0, NO_GPU, sizes));
}
