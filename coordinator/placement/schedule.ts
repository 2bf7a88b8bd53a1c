/** A choice as the schedule that executors are given. */
import {
  type EnginePlan,
  type ExecutorKind,
  type MemoryNeeds,
  memoryNeeds,
  type Schedule,
} from "../../native/index.js";
import type { Model } from "../model/model.js";
import { residentOptions } from "./footprint.js";
import { type Heat, neuronsPerBlock } from "./heat.js";
import type { Choice } from "./problem.js";
import type { ServingSizes } from "./sizes.js";

/** What placement has to know of an executor. */
export interface PlacementExecutor {
  kind: ExecutorKind;
  /** "cpu", "host", "cuda" or "emulated". */
  device: string;
  /** The name of the real card that computes; null for all that stands in for one. */
  card: string | null;
  /** Bytes for weights, KV cache and scratch; 0 means no limit. */
  budgetBytes: number;
  /** Scratch grows with them. */
  threads: number;
}

/** What the engine of one executor is told. */
export function enginePlan(
  model: Pick<Model, "path" | "fileBytes" | "shape" | "tensors">,
  schedule: Schedule,
  executor: number,
  { slots, contextLength, maxRows }: ServingSizes,
): EnginePlan {
  return {
    modelPath: model.path,
    modelBytes: model.fileBytes,
    shape: model.shape,
    tensors: model.tensors,
    schedule,
    executor,
    slots,
    contextLength,
    maxRows,
  };
}

/** What an executor whose weights are copied needs for its part of a schedule, to the byte. */
export function needsOf(
  model: Pick<Model, "path" | "fileBytes" | "shape" | "tensors">,
  schedule: Schedule,
  executor: number,
  { device, threads }: Pick<PlacementExecutor, "device" | "threads">,
  sizes: ServingSizes,
): MemoryNeeds {
  return memoryNeeds(enginePlan(model, schedule, executor, sizes), residentOptions(device, threads));
}

/**
 * Hot neurons and what the GPU executor owns go to it. Cold neurons go to the CPU executors in turn, a block at a time,
 * so that each gets its share of every region; the first CPU executor owns the other layers.
 *
 * @param executors at most one of kind `gpu`, and one at least
 */
export function scheduleOf(
  model: Pick<Model, "tensors">,
  heat: Heat,
  choice: Choice,
  executors: readonly Pick<PlacementExecutor, "kind">[],
): Schedule {
  const gpu = executors.findIndex(({ kind }) => kind === "gpu");
  const cpus = executors.flatMap(({ kind }, index) => (kind === "cpu" ? [index] : []));
  const first = cpus[0] ?? gpu;
  const block = neuronsPerBlock(model);
  return {
    executors: executors.map(({ kind }) => kind),
    layers: heat.layers.map(({ order, sizes }, layer) => {
      const { owner, hot } = choice.layers[layer] ?? { owner: "cpu", hot: 0 };
      const neuronOwner = Uint8Array.from(
        order,
        (_, neuron) => cpus[Math.floor(neuron / block) % cpus.length] ?? first,
      );
      const neurons = sizes.slice(0, hot).reduce((sum, size) => sum + size, 0);
      for (const neuron of order.subarray(0, neurons)) neuronOwner[neuron] = gpu;
      return { attention: owner === "gpu" ? gpu : first, neuronOwner };
    }),
    head: choice.head === "gpu" ? gpu : first,
  };
}

/** Everything on the GPU executor. */
export function allHot(heat: Heat): Choice {
  return {
    layers: heat.layers.map(({ sizes }) => ({ owner: "gpu", hot: sizes.length })),
    head: "gpu",
  };
}
