/** What a predictor saves, in bytes of weights that a token reads. */
import type { Confusion, TensorRef, WeightType } from "../../native/index.js";
import { bytesOf, WEIGHT_TYPES } from "../model/tensor-types.js";

/** Bytes of one neuron's rows. */
export interface NeuronBytes {
  gate: number;
  /** Up and down. */
  rest: number;
}

/** What reading a layer's FFN costs a token, on average over the rows that were measured. */
export interface LayerCost {
  predictorBytes: number;
  /** With the predictor: itself, the gates of what it takes for active, and the rest of those that fire. */
  bytes: number;
  /** Every gate, and the rest of what fires. */
  exactBytes: number;
}

export function neuronBytes(tensors: readonly TensorRef[], layer: number, ff: number): NeuronBytes {
  const bytes = (...parts: string[]) =>
    tensors
      .filter(({ name }) => parts.some((part) => name === `blk.${layer}.${part}.weight`))
      .reduce((sum, { type, rows, cols }) => sum + bytesOf(WEIGHT_TYPES[type], rows * cols), 0) / ff;
  return { gate: bytes("ffn_gate"), rest: bytes("ffn_up", "ffn_down", "ffn_down_t") };
}

export function predictorBytes(type: WeightType, rank: number, embd: number, ff: number): number {
  return bytesOf(WEIGHT_TYPES[type], rank * (embd + ff));
}

export function layerCost(predictor: number, neuron: NeuronBytes, ff: number, seen: Confusion): LayerCost {
  const aRow = (pairs: number) => pairs / seen.rows;
  return {
    predictorBytes: predictor,
    bytes: predictor + aRow(seen.predicted) * neuron.gate + aRow(seen.found) * neuron.rest,
    exactBytes: ff * neuron.gate + aRow(seen.fired) * neuron.rest,
  };
}
