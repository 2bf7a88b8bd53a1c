/**
 * From machine, model and profile to the placement problem.
 *
 * Decoding is bound by the weights it reads, so every time is bytes over a rate, and what a half of a layer takes to
 * begin. Read are, for one token: attention's matrices, and keys and values of the positions before it; the predictor;
 * of every neuron its gate, unless a predictor chooses neurons; of active ones the rest. docs/decisions/placement.md
 * says how far that carries.
 */
import type { TensorRef, WeightType } from "../../native/index.js";
import type { Model } from "../model/model.js";
import { bytesOf, WEIGHT_TYPES } from "../model/tensor-types.js";
import type { Footprint } from "./footprint.js";
import type { Heat, LayerHeat } from "./heat.js";
import { kernelBytesPerS, type MachineSide, type PlacementMachine, type Stage } from "./machine.js";
import type { LayerProblem, OwnerCost, PlacementProblem } from "./problem.js";

/** Keys and values are halves. */
const CACHE_ELEMENT_BYTES = 2;

export interface CostInputs {
  model: Pick<Model, "shape" | "tensors" | "hasPredictor">;
  heat: Heat;
  footprint: Footprint;
  machine: PlacementMachine;
  /** Of the GPU executor, for weights, KV cache and scratch; Infinity where there is no limit. */
  budgetBytes: number;
  /** Its scratch. */
  scratchBytes: number;
  /** Positions before the token that is predicted. */
  position: number;
  /** The first CPU executor's share of the CPU executors' threads: it alone runs attention and head on that side. */
  firstCpuShare: number;
  cpuExecutors: number;
}

/** Bytes that are read, by the type of weights. */
type Read = [type: WeightType, bytes: number][];

export function toProblem(inputs: CostInputs): PlacementProblem {
  const { model, heat, footprint, machine, budgetBytes, scratchBytes, cpuExecutors } = inputs;
  const tensors = new Map(model.tensors.map((tensor) => [tensor.name, tensor]));
  const find = (name: string): TensorRef => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new RangeError(`the model has no tensor ${name}`);
    return tensor;
  };
  const layers = heat.layers.map((layerHeat, layer): LayerProblem => {
    const name = (part: string) => `blk.${layer}.${part}.weight`;
    const taken = footprint.layers[layer];
    if (taken === undefined) throw new RangeError(`the footprint has no layer ${layer}`);
    const whole = (...parts: string[]): Read =>
      parts.map((part) => [find(name(part)).type, tensorBytes(find(name(part)))]);
    const attention = whole("attn_q", "attn_k", "attn_v", "attn_output");
    attention.push([attention[0]?.[0] ?? "f16", cacheBytes(inputs)]);
    // A model with predictors may have layers without.
    const isPredicted = model.hasPredictor && tensors.has(name("fc1"));
    const predictor = isPredicted ? whole("fc1", "fc2") : [];
    const own = ownerCost(inputs, [
      ["attention", attention],
      ["predict", predictor],
    ]);
    const down = tensors.get(name("ffn_down_t")) ?? find(name("ffn_down"));
    const matrices = { gate: find(name("ffn_gate")), up: find(name("ffn_up")), down, isPredicted };
    return {
      own: { ...own, gpuBytes: taken.ownWeightBytes + taken.kvCacheBytes },
      ...neuronCosts(inputs, layerHeat, matrices, taken.neuronBytes),
    };
  });
  const output = tensors.get("output.weight") ?? find("token_embd.weight");
  const head = ownerCost(inputs, [["head", [[output.type, tensorBytes(output)]]]]);
  return {
    layers,
    head: { ...head, gpuBytes: footprint.headWeightBytes },
    budgetBytes: Math.max(0, budgetBytes - scratchBytes),
    hotStartS: machine.gpu.startUs / 1e6,
    coldStartS: machine.cpu.startUs / 1e6,
    handOverS: machine.handOverUs / 1e6,
    residualS: machine.residualUs / 1e6,
    contention: machine.contention,
    coldPeers: cpuExecutors > 1,
    stepS: machine.stepUs / 1e6,
  };
}

function ownerCost(
  { machine, firstCpuShare }: CostInputs,
  stages: readonly (readonly [Stage, Read])[],
): Omit<OwnerCost, "gpuBytes"> {
  const seconds = (side: MachineSide) =>
    stages.reduce((sum, [stage, read]) => sum + secondsOf(side, stage, read), 0);
  return { gpuS: seconds(machine.gpu), cpuS: seconds(machine.cpu) / firstCpuShare };
}

function secondsOf(side: MachineSide, stage: Stage, read: Read): number {
  return read.reduce((sum, [type, bytes]) => sum + bytes / kernelBytesPerS(side, type, stage), 0);
}

function neuronCosts(
  { model, machine }: CostInputs,
  heat: LayerHeat,
  { gate, up, down, isPredicted }: { gate: TensorRef; up: TensorRef; down: TensorRef; isPredicted: boolean },
  neuronBytes: (neurons: number) => number,
): Omit<LayerProblem, "own"> {
  const { ff } = model.shape;
  const each = (tensor: TensorRef) => tensorBytes(tensor) / ff;
  const groups = heat.sizes.length;
  const reads = heat.sizes.map((size, group): Read => {
    const active = heat.active[group] ?? 0;
    return [
      [gate.type, (isPredicted ? active : size) * each(gate)],
      [up.type, active * each(up)],
      [down.type, (heat.downRead[group] ?? 0) * each(down)],
    ];
  });
  const [full = 0] = heat.sizes;
  // Every array is rounded up to a cache line, which is nothing beside a group.
  const groupBytes = neuronBytes(full);
  const neurons = prefix(heat.sizes);
  const hot = prefix(reads.map((read) => secondsOf(machine.gpu, "neurons", read)));
  const cold = prefix(reads.map((read) => secondsOf(machine.cpu, "neurons", read)).reverse());
  return {
    neurons,
    active: prefix(heat.active),
    hotS: hot,
    coldS: Float64Array.from({ length: groups + 1 }, (_, first) => cold[groups - first] ?? 0),
    gpuBytes: Float64Array.from({ length: groups + 1 }, (_, count) =>
      count === groups ? neuronBytes(ff) : count * groupBytes,
    ),
  };
}

/** Keys and values of one layer that a token reads. */
function cacheBytes({ model: { shape }, position }: CostInputs): number {
  return position * 2 * shape.kvHeads * shape.headDim * CACHE_ELEMENT_BYTES;
}

function tensorBytes({ type, rows, cols }: TensorRef): number {
  return bytesOf(WEIGHT_TYPES[type], rows * cols);
}

/** Sums of the first 0, 1, ... values. */
function prefix(values: readonly number[]): Float64Array {
  const sums = new Float64Array(values.length + 1);
  for (const [index, value] of values.entries()) sums[index + 1] = (sums[index] ?? 0) + value;
  return sums;
}
