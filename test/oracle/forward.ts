/**
 * A llama-architecture forward pass in float64, one token after the other and nothing clever: what every engine,
 * placement and batch shape is judged by.
 *
 * RMSNorm (Zhang and Sennrich 2019) or LayerNorm (Ba et al. 2016), rotary embedding (Su et al. 2021), grouped-query
 * attention (Ainslie et al. 2023), gated FFN (Shazeer 2020) with an optional activation predictor.
 */
import type { ModelShape } from "../../native/index.js";
import type { Matrix, OracleLayer, OracleModel, OracleNorm } from "./model.js";
import { exact, type Rounding } from "./rounding.js";

/** Keys and values of the positions so far; each `kvHeads * headDim` long. */
interface Cache {
  keys: Float64Array[];
  values: Float64Array[];
}

/** @returns the logits after each token; `tokens[0]` stands at position 0 */
export function forward(
  model: OracleModel,
  tokens: readonly number[],
  rounding: Rounding = exact,
): Float64Array[] {
  const caches = model.layers.map((): Cache => ({ keys: [], values: [] }));
  return tokens.map((token, position) => {
    let x = row(model.embedding, token);
    model.layers.forEach((layer, index) => {
      const cache = at(caches, index);
      const normed = normalize(x, model.shape, layer.attnNorm, rounding);
      x = add(x, attention(model, layer, cache, normed, position, rounding), rounding);
      x = add(x, feedForward(model, layer, x, rounding), rounding);
    });
    const normed = normalize(x, model.shape, model.outputNorm, rounding);
    return multiply(model.head, rounding.input(normed, model.head.type), rounding);
  });
}

/** Index of the largest value, the first of equals. */
export function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (at(values, i) > at(values, best)) best = i;
  return best;
}

/** Extends the prompt by `count` tokens, the most likely one each time. */
export function greedy(model: OracleModel, prompt: readonly number[], count: number): number[] {
  const tokens = [...prompt];
  for (let i = 0; i < count; i++) tokens.push(argmax(at(forward(model, tokens), tokens.length - 1)));
  return tokens.slice(prompt.length);
}

function attention(
  { shape, ropeFactors }: OracleModel,
  layer: OracleLayer,
  cache: Cache,
  normed: Float64Array,
  position: number,
  rounding: Rounding,
): Float64Array {
  const { heads, kvHeads, headDim } = shape;
  const [q, k, v] = multiplyAll([layer.q, layer.k, layer.v], normed, rounding);
  rotate(q, position, shape, ropeFactors, rounding);
  rotate(k, position, shape, ropeFactors, rounding);
  cache.keys.push(k.map((value) => rounding.cached(value)));
  cache.values.push(v.map((value) => rounding.cached(value)));

  const out = new Float64Array(heads * headDim);
  for (let head = 0; head < heads; head++) {
    const shared = Math.floor((head * kvHeads) / heads) * headDim;
    const query = rounding.input(q.subarray(head * headDim, (head + 1) * headDim), "f16");
    const scores = cache.keys.map((key) =>
      rounding.value(dot(key, shared, query, rounding) / Math.sqrt(headDim)),
    );
    const weights = softmax(scores, rounding);
    for (let i = 0; i < headDim; i++) {
      const column = weights.map((_, seen) => at(at(cache.values, seen), shared + i));
      out[head * headDim + i] = dot(column, 0, weights, rounding);
    }
  }
  return multiply(layer.output, rounding.input(out, layer.output.type), rounding);
}

/** Rotates pairs of each head in place: pair i by position * scale * base^(-2i / dims) / factor_i. */
function rotate(
  x: Float64Array,
  position: number,
  { headDim, ropeDims, ropePairs, ropeBase, ropeScale }: OracleModel["shape"],
  factors: Float64Array | null,
  rounding: Rounding,
): void {
  for (let head = 0; head < x.length; head += headDim) {
    for (let pair = 0; pair < ropeDims / 2; pair++) {
      const frequency = ropeBase ** ((-2 * pair) / ropeDims) / (factors === null ? 1 : at(factors, pair));
      const angle = rounding.angle(position * ropeScale * frequency);
      const first = head + (ropePairs === "adjacent" ? 2 * pair : pair);
      const second = ropePairs === "adjacent" ? first + 1 : first + ropeDims / 2;
      const a = at(x, first);
      const b = at(x, second);
      const size = 2 * Math.hypot(a, b); // two products with a rounded sine and cosine, and their sum
      x[first] = rounding.sum(a * Math.cos(angle) - b * Math.sin(angle), size);
      x[second] = rounding.sum(a * Math.sin(angle) + b * Math.cos(angle), size);
    }
  }
}

/** `rounding.input` of the probabilities, as the sum over values takes them. */
function softmax(scores: readonly number[], rounding: Rounding): Float64Array {
  const largest = Math.max(...scores);
  const weights = Float64Array.from(scores, (score) => rounding.exp(score - largest));
  const total = dot(weights, 0, new Float64Array(weights.length).fill(1), rounding);
  return rounding.input(
    weights.map((weight) => rounding.value(weight / total)),
    "f16",
  );
}

function feedForward(
  { shape }: OracleModel,
  layer: OracleLayer,
  residual: Float64Array,
  rounding: Rounding,
): Float64Array {
  const normed = normalize(residual, shape, layer.ffnNorm, rounding);
  const [gate, up] = multiplyAll([layer.gate, layer.up], normed, rounding);
  const active = predict(layer, residual, shape.predictorThreshold, rounding);
  const hidden = gate.map((g, i) => (active(i) ? rounding.value(gated(shape, g, at(up, i), rounding)) : 0));
  return multiply(layer.down, rounding.neurons(hidden, layer.down.type, layer.downByNeuron), rounding);
}

function gated(shape: ModelShape, gate: number, up: number, rounding: Rounding): number {
  const { activation, reluThreshold } = shape;
  switch (activation) {
    case "relu":
      return fatRelu(gate, reluThreshold) * up;
    case "relu2":
      return fatRelu(gate, reluThreshold) * Math.max(up, 0);
    case "silu":
      return rounding.value(gate / rounding.value(1 + rounding.exp(-gate))) * up;
  }
}

/** Equation 3 of Song et al. 2024 (ProSparse); ReLU with a threshold of 0. */
function fatRelu(x: number, threshold: number): number {
  return x >= threshold ? Math.max(x, 0) : 0;
}

/** Whether neuron i is to be computed. The predictor sees the residual before the FFN's norm. */
function predict(
  { predictor }: OracleLayer,
  residual: Float64Array,
  threshold: number,
  rounding: Rounding,
): (neuron: number) => boolean {
  if (predictor === null) return () => true;
  const { fc1, fc2 } = predictor;
  const hidden = multiply(fc1, rounding.input(residual, fc1.type), rounding).map((h) => Math.max(h, 0));
  const logits = multiply(fc2, rounding.input(hidden, fc2.type), rounding);
  return (neuron) => at(logits, neuron) >= threshold;
}

function normalize(
  x: Float64Array,
  { norm, normEpsilon }: ModelShape,
  { weight, bias }: OracleNorm,
  rounding: Rounding,
): Float64Array {
  const mean = norm === "rms" ? 0 : dot(x, 0, new Float64Array(x.length).fill(1), rounding) / x.length;
  const centred = norm === "rms" ? x : x.map((value) => rounding.value(value - mean));
  const scale = rounding.value(1 / Math.sqrt(dot(centred, 0, centred, rounding) / x.length + normEpsilon));
  return centred.map((value, i) => {
    const scaled = rounding.value(value * scale);
    const weighted = weight === null ? scaled : rounding.value(scaled * at(weight.data, i));
    return bias === null ? weighted : rounding.value(weighted + at(bias.data, i));
  });
}

/** Products of several matrices with one vector, which is rounded once for each type of weights. */
function multiplyAll<M extends Matrix[]>(
  matrices: [...M],
  x: Float64Array,
  rounding: Rounding,
): { [I in keyof M]: Float64Array } {
  const inputs = new Map(
    [...new Set(matrices.map(({ type }) => type))].map((type) => [type, rounding.input(x, type)]),
  );
  return matrices.map((matrix) => multiply(matrix, inputs.get(matrix.type) ?? x, rounding)) as {
    [I in keyof M]: Float64Array;
  };
}

function multiply(matrix: Matrix, x: Float64Array, rounding: Rounding): Float64Array {
  return new Float64Array(matrix.rows).map((_, r) => dot(matrix.data, r * matrix.cols, x, rounding));
}

/** Sum of w[offset + i] * x[i]. `spread` is the root of the squares of every product and partial sum. */
function dot(w: Float64Array, offset: number, x: Float64Array, rounding: Rounding): number {
  let sum = 0;
  let squares = 0;
  for (let i = 0; i < x.length; i++) {
    const product = (w[offset + i] ?? 0) * (x[i] ?? 0);
    if (product === 0) continue;
    sum += product;
    squares += product * product + sum * sum;
  }
  return rounding.sum(sum, Math.sqrt(squares));
}

function row({ data, cols }: Matrix, index: number): Float64Array {
  return data.slice(index * cols, (index + 1) * cols);
}

function add(x: Float64Array, y: Float64Array, rounding: Rounding): Float64Array {
  return x.map((value, i) => rounding.value(value + at(y, i)));
}

function at<T>(values: ArrayLike<T>, index: number): T {
  const value = values[index];
  if (value === undefined) throw new RangeError(`index ${index} of ${values.length}`);
  return value;
}
