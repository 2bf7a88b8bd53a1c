/** What a predictor saves, in bytes of weights that a token reads. */
import type { Confusion, TensorRef, WeightType } from "../../native/index.js";
import { bytesOf, WEIGHT_TYPES } from "../model/tensor-types.js";
import { neuronsPerBlock } from "../placement/heat.js";

/** Bytes of one neuron's rows. */
export interface NeuronBytes {
  gate: number;
  up: number;
  down: number;
  /** Neurons whose parts of the down-projection are read together: 1 where it has a row for each. */
  downTogether: number;
}

/** What reading a layer's FFN costs a token, on average over the rows that were measured. */
export interface LayerCost {
  predictorBytes: number;
  /** With the predictor: itself, the gates of what it takes for active, and the rest of those that fire. */
  bytes: number;
  /** Every gate, and the rest of what fires. */
  exactBytes: number;
  /** How many times fewer bytes that is. */
  speedUp: number;
}

export function neuronBytes(tensors: readonly TensorRef[], layer: number, ff: number): NeuronBytes {
  const parts = (...names: string[]) =>
    tensors.filter(({ name }) => names.some((part) => name === `blk.${layer}.${part}.weight`));
  const bytes = (...names: string[]) =>
    parts(...names).reduce((sum, { type, rows, cols }) => sum + bytesOf(WEIGHT_TYPES[type], rows * cols), 0) /
    ff;
  const byOutput = parts("ffn_down");
  return {
    gate: bytes("ffn_gate"),
    up: bytes("ffn_up"),
    down: bytes("ffn_down", "ffn_down_t"),
    downTogether: byOutput.length === 0 ? 1 : neuronsPerBlock({ tensors: byOutput }),
  };
}

export function predictorBytes(type: WeightType, rank: number, embd: number, ff: number): number {
  return bytesOf(WEIGHT_TYPES[type], rank * (embd + ff));
}

/**
 * Neurons that share a block of the down-projection count as firing independently of each other. Under double ReLU,
 * down counts as read for every gate that fires, which is more than is.
 */
export function layerCost(predictor: number, neuron: NeuronBytes, ff: number, seen: Confusion): LayerCost {
  const rest = (active: number) => {
    const silent = (1 - active / ff) ** neuron.downTogether;
    return active * neuron.up + (neuron.downTogether === 1 ? active : ff * (1 - silent)) * neuron.down;
  };
  const aRow = (pairs: number) => pairs / seen.rows;
  const bytes = predictor + aRow(seen.predicted) * neuron.gate + rest(aRow(seen.found));
  const exactBytes = ff * neuron.gate + rest(aRow(seen.fired));
  return { predictorBytes: predictor, bytes, exactBytes, speedUp: exactBytes / bytes };
}
