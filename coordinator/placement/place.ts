/**
 * The first placement policy: fill the GPU executor's memory budget, most valuable weights first.
 *
 * A byte on the card is worth as often as it is read. Attention and the output head are read for every token, so they
 * come first (layers from the first on, then the head); neurons follow, by their activation counts where a profile
 * gives them, else in order and equally many in every layer. Whether a choice fits is asked of `memoryNeeds`, the same
 * function by which the executor reserves its memory, so that the budget is never exceeded by a byte.
 */
import {
  type EngineOptions,
  type EnginePlan,
  type ExecutorKind,
  type MemoryNeeds,
  memoryNeeds,
  type Schedule,
} from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { formatBytes } from "../../proto/units.js";
import type { Model } from "../model/model.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import type { Profile } from "./profile.js";

/** What placement has to know of an executor. */
export interface PlacementExecutor {
  kind: ExecutorKind;
  /** Bytes for weights, KV cache and scratch; 0 means no limit. */
  budgetBytes: number;
  /** Scratch grows with them. */
  threads: number;
}

/** Sizes every executor's KV cache and scratch follow from. */
export interface ServingSizes {
  slots: number;
  contextLength: number;
  maxRows: number;
}

/** Engines divide the neurons of a down-projection stored one row an output by blocks of at least this many. */
const LEAST_NEURONS_PER_BLOCK = 32;

/** What the engine of one executor is told. */
export function enginePlan(
  model: Model,
  schedule: Schedule,
  executor: number,
  sizes: ServingSizes,
): EnginePlan {
  return {
    modelPath: model.path,
    modelBytes: model.fileBytes,
    shape: model.shape,
    tensors: model.tensors,
    schedule,
    executor,
    ...sizes,
  };
}

function resident(threads: number): EngineOptions {
  return { residency: "resident", budgetBytes: 0, threads, pinTo: [], instructionSet: null };
}

/**
 * Decides who computes what.
 *
 * @param executors at most one of kind `gpu`
 * @throws ThermoclineError RESOURCE_EXHAUSTED when the GPU executor's budget does not hold even one layer's attention
 */
export function place(
  model: Model,
  executors: readonly PlacementExecutor[],
  sizes: ServingSizes,
  profile: Profile | null,
): Schedule {
  const gpu = executors.findIndex((executor) => executor.kind === "gpu");
  const cpus = executors.flatMap((executor, index) => (executor.kind === "cpu" ? [index] : []));
  if (executors.filter((executor) => executor.kind === "gpu").length > 1) {
    throw new ThermoclineError(
      "UNIMPLEMENTED",
      "placement over several GPU executors is not there yet: give one",
    );
  }
  if (gpu < 0) return scheduleFor(model, executors, cpus, noHotNeurons(model));
  const hottest = rankNeurons(model, profile);
  const options = resident(executors[gpu]?.threads ?? 1);
  const needs = (share: GpuShare): MemoryNeeds =>
    memoryNeeds(enginePlan(model, scheduleFor(model, executors, cpus, share), gpu, sizes), options);
  const budget = executors[gpu]?.budgetBytes ?? 0;
  const everything: GpuShare = {
    gpu,
    attentionLayers: model.shape.layers,
    head: true,
    hot: hotSets(model, hottest, hottest.units),
  };
  if (budget === 0 || total(needs(everything)) <= budget)
    return scheduleFor(model, executors, cpus, everything);
  if (cpus.length === 0) {
    throw new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `the model needs ${formatBytes(total(needs(everything)))} on the GPU executor, whose budget is ` +
        `${formatBytes(budget)}, and there is no CPU executor for the rest: add one or raise --vram-budget`,
    );
  }
  return scheduleFor(
    model,
    executors,
    cpus,
    fill(model, gpu, hottest, (share) => total(needs(share)), budget),
  );
}

/** Bytes a GPU executor of one thread would need to hold the whole model. */
export function wholeModelBytes(model: Model, sizes: ServingSizes): number {
  const hot = hotSets(model, rankNeurons(model, null), Number.POSITIVE_INFINITY);
  const share: GpuShare = { gpu: 0, attentionLayers: model.shape.layers, head: true, hot };
  const schedule = scheduleFor(model, [{ kind: "gpu", budgetBytes: 0, threads: 1 }], [], share);
  return total(memoryNeeds(enginePlan(model, schedule, 0, sizes), resident(1)));
}

/** What the GPU executor gets. */
interface GpuShare {
  gpu: number;
  /** Layers 0 to this (exclusive) have their attention and KV cache there. */
  attentionLayers: number;
  head: boolean;
  /** One byte a neuron and layer: 1 when it is hot. */
  hot: Uint8Array[];
}

function fill(
  model: Model,
  gpu: number,
  hottest: RankedNeurons,
  bytes: (share: GpuShare) => number,
  budget: number,
): GpuShare {
  const share = (attentionLayers: number, head: boolean, units: number): GpuShare => ({
    gpu,
    attentionLayers,
    head,
    hot: hotSets(model, hottest, units),
  });
  const fits = (candidate: GpuShare) => bytes(candidate) <= budget;
  const attentionLayers = largest(model.shape.layers, (layers) => fits(share(layers, false, 0)));
  if (attentionLayers === 0) {
    throw new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `a VRAM budget of ${formatBytes(budget)} is too small for this model: one layer's attention, KV cache and ` +
        `scratch take ${formatBytes(bytes(share(1, false, 0)))}; raise --vram-budget, lower --ctx or --slots, or ` +
        "use --gpu off",
    );
  }
  const head = fits(share(attentionLayers, true, 0));
  const units = largest(hottest.units, (count) => fits(share(attentionLayers, head, count)));
  return share(attentionLayers, head, units);
}

/** The largest count from 0 to `most` for which `holds`, which is true up to some count and false from there on. */
function largest(most: number, holds: (count: number) => boolean): number {
  let low = 0;
  let high = most;
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Units of neurons, hottest first. A unit is what can be placed alone: one neuron, or a block of them. */
interface RankedNeurons {
  neuronsPerUnit: number;
  units: number;
  /** Unit u of layer l is entry l * unitsPerLayer + u. */
  unitsPerLayer: number;
  order: Uint32Array;
}

/** Neurons that share blocks of a down-projection stored one row an output, in the layer with the largest blocks. */
function neuronsPerBlock(model: Model): number {
  const downs = model.tensors.filter(({ name }) => name.endsWith(".ffn_down.weight"));
  return Math.max(LEAST_NEURONS_PER_BLOCK, ...downs.map(({ type }) => WEIGHT_TYPES[type].blockSize));
}

function rankNeurons(model: Model, profile: Profile | null): RankedNeurons {
  const { layers, ff } = model.shape;
  const neuronsPerUnit = model.downTransposed ? 1 : neuronsPerBlock(model);
  const unitsPerLayer = Math.ceil(ff / neuronsPerUnit);
  const units = layers * unitsPerLayer;
  const heat = new Float64Array(units);
  for (let layer = 0; layer < layers; layer++) {
    const counts = profile?.counts[layer];
    for (let unit = 0; unit < unitsPerLayer; unit++) {
      let sum = 0;
      const first = unit * neuronsPerUnit;
      for (let neuron = first; neuron < Math.min(first + neuronsPerUnit, ff); neuron++)
        sum += counts?.[neuron] ?? 0;
      // Without counts every layer gets its first units before any layer gets later ones.
      heat[layer * unitsPerLayer + unit] = counts === undefined ? -unit : sum;
    }
  }
  const order = Uint32Array.from({ length: units }, (_, index) => index);
  order.sort((a, b) => (heat[b] ?? 0) - (heat[a] ?? 0) || a - b);
  return { neuronsPerUnit, units, unitsPerLayer, order };
}

function noHotNeurons(model: Model): GpuShare {
  const hot = Array.from({ length: model.shape.layers }, () => new Uint8Array(model.shape.ff));
  return { gpu: -1, attentionLayers: 0, head: false, hot };
}

function hotSets(model: Model, ranked: RankedNeurons, units: number): Uint8Array[] {
  const { hot } = noHotNeurons(model);
  for (let rank = 0; rank < Math.min(units, ranked.units); rank++) {
    const entry = ranked.order[rank] ?? 0;
    const first = (entry % ranked.unitsPerLayer) * ranked.neuronsPerUnit;
    hot[Math.floor(entry / ranked.unitsPerLayer)]?.fill(1, first, first + ranked.neuronsPerUnit);
  }
  return hot;
}

/** Cold neurons go to the CPU executors in turn, a block at a time, so that each gets its share of every region. */
function scheduleFor(
  model: Model,
  executors: readonly PlacementExecutor[],
  cpus: readonly number[],
  share: GpuShare,
): Schedule {
  const first = cpus[0] ?? share.gpu;
  const block = neuronsPerBlock(model);
  return {
    executors: executors.map((executor) => executor.kind),
    layers: share.hot.map((hot, layer) => ({
      attention: layer < share.attentionLayers ? share.gpu : first,
      neuronOwner: hot.map((isHot, neuron) =>
        isHot === 1 ? share.gpu : (cpus[Math.floor(neuron / block) % cpus.length] ?? first),
      ),
    })),
    head: share.head ? share.gpu : first,
  };
}

function total(needs: MemoryNeeds): number {
  return needs.weightBytes + needs.kvCacheBytes + needs.scratchBytes;
}
