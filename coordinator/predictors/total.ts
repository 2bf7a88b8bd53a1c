/** What the predictors of all layers do together. */
import type { Model } from "../model/model.js";
import { PREDICTOR_TENSOR } from "../model/predictor.js";
import { bytesOf, WEIGHT_TYPES } from "../model/tensor-types.js";
import { type LayerCost, neuronBytes } from "./cost.js";
import type { LayerReport } from "./train-layer.js";

/** Sums over the layers that were asked for; one without a predictor takes every neuron for active. */
export interface TotalReport {
  layers: number;
  withPredictor: number;
  firedShare: number;
  recall: number;
  precision: number;
  predictedShare: number;
  /** Of the FFNs. */
  cost: LayerCost;
  ffnShare: number;
  /** Of all weights that a token reads; null unless every layer was asked for. */
  token: Pick<LayerCost, "bytes" | "exactBytes" | "speedUp"> | null;
}

const FFN_TENSOR = /^blk\.\d+\.ffn_(?:gate|up|down|down_t)\.weight$/;

/** @returns null when a layer was not measured, since its gates are fewer bytes than any predictor */
export function totalOf({ shape, tensors }: Model, layers: readonly LayerReport[]): TotalReport | null {
  const { ff } = shape;
  const sums = { pairs: 0, fired: 0, predicted: 0, found: 0, predictorBytes: 0, bytes: 0, exactBytes: 0 };
  let ffnBytes = 0;
  for (const { layer, chosen, candidates } of layers) {
    const [first] = candidates;
    if (first === undefined) return null;
    const { rows, fired } = first.test;
    sums.pairs += rows * ff;
    sums.fired += fired;
    sums.predicted += chosen?.test.predicted ?? rows * ff;
    sums.found += chosen?.test.found ?? fired;
    sums.predictorBytes += chosen?.cost.predictorBytes ?? 0;
    sums.bytes += chosen?.cost.bytes ?? first.cost.exactBytes;
    sums.exactBytes += first.cost.exactBytes;
    const { gate, up, down } = neuronBytes(tensors, layer, ff);
    ffnBytes += ff * (gate + up + down);
  }
  const { pairs, fired, predicted, found, predictorBytes, bytes, exactBytes } = sums;
  const others = otherBytes(tensors);
  const token = { bytes: others + bytes, exactBytes: others + exactBytes };
  return {
    layers: layers.length,
    withPredictor: layers.filter(({ chosen }) => chosen !== null).length,
    firedShare: fired / pairs,
    recall: found / Math.max(1, fired),
    precision: found / Math.max(1, predicted),
    predictedShare: predicted / pairs,
    cost: { predictorBytes, bytes, exactBytes, speedUp: exactBytes / bytes },
    ffnShare: predictorBytes / ffnBytes,
    token: layers.length < shape.layers ? null : { ...token, speedUp: token.exactBytes / token.bytes },
  };
}

/** What every token reads whole. Of the embedding it reads a row, unless that is the head as well. */
function otherBytes(tensors: Model["tensors"]): number {
  const tied = !tensors.some(({ name }) => name === "output.weight");
  return tensors
    .filter(({ name }) => !FFN_TENSOR.test(name) && !PREDICTOR_TENSOR.test(name))
    .filter(({ name }) => tied || name !== "token_embd.weight")
    .reduce((sum, { type, rows, cols }) => sum + bytesOf(WEIGHT_TYPES[type], rows * cols), 0);
}
