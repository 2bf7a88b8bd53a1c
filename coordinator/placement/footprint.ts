/**
 * What parts of a model take on the GPU executor, asked of the function by which executors reserve their memory.
 *
 * It is asked of models of one layer, once for each kind of layer, so that it costs the same for 5 layers and for 80.
 * Parts are arrays that begin on cache lines, so the sum of parts rounded up to lines never falls short of the whole.
 */
import { type EngineOptions, type EnginePlan, type MemoryNeeds, memoryNeeds } from "../../native/index.js";
import { isCard } from "../../native/libraries.js";
import type { Model } from "../model/model.js";
import type { PlacementExecutor } from "./schedule.js";
import type { ServingSizes } from "./sizes.js";

/** Arrays begin on multiples of this: `MemoryLayout::kAlignment` of native/engine/memory_layout.h. */
const ALIGNMENT = 64;

export type FootprintModel = Pick<Model, "shape" | "tensors" | "fileBytes" | "path">;

export interface LayerFootprint {
  /** Of attention, norms and predictor. */
  ownWeightBytes: number;
  kvCacheBytes: number;
  /** Of so many neurons. */
  neuronBytes: (neurons: number) => number;
}

export interface Footprint {
  layers: LayerFootprint[];
  headWeightBytes: number;
  /** Scratch of an executor with everything on it, which hardly depends on how much that is. */
  scratchBytes: number;
}

/** Of an executor whose weights are copied; only whether it is a card's matters of its device. */
export function residentOptions(device: string, threads: number): EngineOptions {
  const library = isCard(device) ? device : null;
  return { residency: "resident", budgetBytes: 0, threads, pinTo: [], instructionSet: null, library };
}

export function totalBytes({ weightBytes, kvCacheBytes, scratchBytes }: MemoryNeeds): number {
  return weightBytes + kvCacheBytes + scratchBytes;
}

/** @param gpu the GPU executor */
export function footprintOf(
  model: FootprintModel,
  sizes: ServingSizes,
  gpu: Pick<PlacementExecutor, "device" | "threads">,
): Footprint {
  const known = new Map<string, LayerFootprint>();
  const layers = Array.from({ length: model.shape.layers }, (_, layer) => {
    const kind = kindOf(model, layer);
    const found = known.get(kind) ?? layerFootprint(model, sizes, gpu, layer);
    known.set(kind, found);
    return found;
  });
  const whole = probe(model, sizes, gpu, 0, { attention: 0, neurons: model.shape.ff, head: 0 });
  const head = probe(model, sizes, gpu, 0, { attention: 1, neurons: 0, head: 0 });
  return { layers, headWeightBytes: aligned(head.weightBytes), scratchBytes: aligned(whole.scratchBytes) };
}

function layerFootprint(
  model: FootprintModel,
  sizes: ServingSizes,
  gpu: Pick<PlacementExecutor, "device" | "threads">,
  layer: number,
): LayerFootprint {
  const of = (attention: number, neurons: number) =>
    probe(model, sizes, gpu, layer, { attention, neurons, head: 1 });
  const own = of(0, 0);
  const known = new Map<number, number>();
  return {
    ownWeightBytes: aligned(own.weightBytes),
    kvCacheBytes: aligned(own.kvCacheBytes),
    neuronBytes: (neurons) => {
      const bytes = known.get(neurons) ?? aligned(of(1, neurons).weightBytes);
      known.set(neurons, bytes);
      return bytes;
    },
  };
}

/** Which of two executors has the layer's attention, its first so many neurons (the rest go to 1), and the head. */
interface Probe {
  attention: number;
  neurons: number;
  head: number;
}

/** What executor 0 of two needs for a model of nothing but this layer. */
function probe(
  model: FootprintModel,
  sizes: ServingSizes,
  gpu: Pick<PlacementExecutor, "device" | "threads">,
  layer: number,
  { attention, neurons, head }: Probe,
): MemoryNeeds {
  const neuronOwner = new Uint8Array(model.shape.ff).fill(1).fill(0, 0, neurons);
  const prefix = `blk.${layer}.`;
  const plan: EnginePlan = {
    modelPath: model.path,
    modelBytes: model.fileBytes,
    shape: { ...model.shape, layers: 1 },
    tensors: model.tensors.flatMap((tensor) => {
      if (!tensor.name.startsWith("blk.")) return [tensor];
      if (!tensor.name.startsWith(prefix)) return [];
      return [{ ...tensor, name: `blk.0.${tensor.name.slice(prefix.length)}` }];
    }),
    schedule: { executors: ["gpu", "cpu"], layers: [{ attention, neuronOwner }], head },
    executor: 0,
    ...sizes,
  };
  return memoryNeeds(plan, residentOptions(gpu.device, gpu.threads));
}

/** Layers of the same tensors in the same types take the same memory. */
function kindOf(model: FootprintModel, layer: number): string {
  const prefix = `blk.${layer}.`;
  return model.tensors
    .filter(({ name }) => name.startsWith(prefix))
    .map(({ name, type, rows, cols }) => `${name.slice(prefix.length)} ${type} ${rows} ${cols}`)
    .sort()
    .join();
}

function aligned(bytes: number): number {
  return Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
}
