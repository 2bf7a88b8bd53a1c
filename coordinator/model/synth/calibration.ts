/**
 * The scales of a synthetic model's weights, chosen so that its activations are known without running it.
 *
 * Every token's embedding is random but for channel 0, which is the same constant for all. Neither attention nor the
 * FFN writes to that channel or its block, and only gates read it: what a gate row holds there is its bias. A gate is
 * then a sum of thousands of independent terms, a normal variable, plus a constant; its sign, which RMS norm's scale
 * does not change, is positive with the probability that the bias was chosen for.
 *
 * What layers add to the residual stays small beside the embedding: more would be a growth of the gates' spread that
 * depends on the context's length, and there would be no telling the probabilities beforehand.
 */

import { normalDensity, normalQuantile, powerLaw } from "./frequencies.js";
import { nearestHalf } from "./half.js";
import { reservedChannels, SUMMANDS, type SynthOptions } from "./options.js";
import { BASIS_VARIANCE, WEIGHT_VARIANCE } from "./random.js";

/** What all layers' attention, and all layers' FFNs, add to the residual's variance, as a share of the embedding's. */
export const ADDED_VARIANCE = { attention: 0.01, ffn: 0.01 };
/** Standard deviation of a token's logits: distinct enough for greedy decoding, even enough for sampling. */
const LOGIT_SPREAD = 2;
/** The constant channel, in multiples of the embedding's scale. The largest there is: Q8 activations hold it exactly. */
export const CONSTANT = 7;
/** Mean square of SiLU(z) for a standard normal z. */
const SILU_MEAN_SQUARE = 0.3557;

/** Scales of weights, all of them halves. */
export interface Calibration {
  /** Channels from 0 on that hold the constant and nothing else. */
  reserved: number;
  /** The constant channel's value in the residual. */
  constant: number;
  embedding: number;
  query: number;
  value: number;
  attentionOutput: number;
  gate: number;
  up: number;
  down: number;
  output: number;
  /** Standard deviation of the residual's other channels at a layer's FFN. */
  spread: (layer: number) => number;
  /** Of a layer's neurons, the most frequent first; empty with SiLU. */
  frequencies: Float64Array;
  /** Biases in standard deviations of the gate, in the same order. */
  biases: Float64Array;
}

export function calibrate(options: SynthOptions): Calibration {
  const { layers, embd, ff } = options.shape;
  const reserved = reservedChannels(options);
  const channels = embd - reserved;
  const embedding = nearestHalf(1 / Math.sqrt(WEIGHT_VARIANCE));
  const spread = embedding * Math.sqrt(WEIGHT_VARIANCE);
  const constant = reserved === 0 ? 0 : CONSTANT * embedding;
  const meanSquare = (channels * spread ** 2 + constant ** 2) / embd;
  // Scale at which a row of weights of this variance makes a standard normal variable of the normalized residual.
  const unit = (variance: number) =>
    nearestHalf(Math.sqrt(meanSquare) / (spread * Math.sqrt(variance * channels)));
  const frequencies =
    options.sparsity === null ? new Float64Array() : powerLaw(ff, 1 - options.sparsity, options.skew);
  const biases = frequencies.map(normalQuantile);
  const hiddenSquares =
    options.sparsity === null
      ? ff * SILU_MEAN_SQUARE
      : frequencies.reduce((sum, p, index) => sum + firingSquare(p, biases[index] ?? 0), 0);
  const added = (share: number, squares: number) =>
    nearestHalf((Math.sqrt(share / layers) * spread) / Math.sqrt(WEIGHT_VARIANCE * squares));
  return {
    reserved,
    constant,
    embedding,
    query: unit(WEIGHT_VARIANCE),
    value: unit(WEIGHT_VARIANCE),
    attentionOutput: added(ADDED_VARIANCE.attention, embd),
    gate: unit(options.predictor === null ? WEIGHT_VARIANCE : SUMMANDS * BASIS_VARIANCE),
    up: unit(WEIGHT_VARIANCE),
    down: added(ADDED_VARIANCE.ffn, hiddenSquares),
    output: nearestHalf(LOGIT_SPREAD * unit(WEIGHT_VARIANCE)),
    // Attention's share fades with the context, over which it averages.
    spread: (layer) => spread * Math.sqrt(1 + (ADDED_VARIANCE.ffn * layer) / layers),
    frequencies,
    biases,
  };
}

/** Mean square of ReLU(z + bias) for a standard normal z, where z + bias > 0 with probability p. */
function firingSquare(p: number, bias: number): number {
  return (1 + bias ** 2) * p + bias * normalDensity(bias);
}
