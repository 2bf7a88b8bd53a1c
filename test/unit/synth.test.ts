/** The bytes of synthetic models, and what their gates do, computed from the files alone. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { encodeRows, SCALED_TOGETHER } from "../../coordinator/model/synth/encode.js";
import { powerLaw } from "../../coordinator/model/synth/frequencies.js";
import { nearestHalf, toHalf } from "../../coordinator/model/synth/half.js";
import type { SynthOptions } from "../../coordinator/model/synth/options.js";
import { WeightStream } from "../../coordinator/model/synth/random.js";
import { synthesize } from "../../coordinator/model/synth/synthesize.js";
import { bytesOf, WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import type { WeightType } from "../../native/index.js";
import { dequantize, halfToNumber } from "../oracle/dequantize.js";
import { type Matrix, readOracleModel } from "../oracle/model.js";
import { Random } from "../support/random.js";
import { TINY_SYNTHETIC, writeSynthetic } from "../support/synthetic-model.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const TYPES = Object.keys(WEIGHT_TYPES) as WeightType[];
const EXACT: WeightType[] = ["f32", "f16", "q8_0", "q4_0"];

describe("the file", () => {
  const bytes = async (name: string, given: Partial<SynthOptions>) =>
    readFileSync((await writeSynthetic(join(folder, name), given)).path);

  test("is the same for the same options, and another for another seed", async () => {
    const options = { predictor: { rank: 96, type: "q8_0" } } as const;
    const first = await bytes("first.gguf", options);
    expect(first.equals(await bytes("again.gguf", options))).toBe(true);
    expect(first.equals(await bytes("other.gguf", { ...options, seed: 2n }))).toBe(false);
  });

  test("is not left half written", async () => {
    const path = join(folder, "interrupted.gguf");
    const control = new AbortController();
    const writing = synthesize(path, TINY_SYNTHETIC, {
      replace: false,
      onProgress: () => control.abort(),
      signal: control.signal,
    });
    await expect(writing).rejects.toMatchObject({ code: "CANCELLED" });
    expect(readdirSync(folder).filter((name) => name.startsWith("interrupted"))).toEqual([]);
  });

  test("does not replace another one unless told to", async () => {
    const { path } = await writeSynthetic(join(folder, "there.gguf"));
    const options = { replace: false, onProgress: () => undefined, signal: null };
    await expect(synthesize(path, TINY_SYNTHETIC, options)).rejects.toThrow(/exists already; give --force/);
  });

  test("grows by what progress says", async () => {
    const seen: [number, number][] = [];
    const size = await synthesize(join(folder, "progress.gguf"), TINY_SYNTHETIC, {
      replace: true,
      onProgress: (...progress) => seen.push(progress),
      signal: null,
    });
    expect(seen.every(([, total]) => total === size)).toBe(true);
    expect(seen.map(([done]) => done)).toEqual(seen.map(([done]) => done).sort((a, b) => a - b));
    expect(seen.at(-1)?.[0]).toBeLessThanOrEqual(size);
  });
});

test.each(EXACT)("%s holds numbers and their scales exactly", async (type) => {
  const random = new Random(3);
  const numbers = Int8Array.from({ length: 8 * SCALED_TOGETHER }, () => random.integer(16) - 8);
  const scales = Float32Array.from({ length: 8 }, () => nearestHalf(random.normal()));
  const out = new Uint8Array(bytesOf(WEIGHT_TYPES[type], numbers.length) + 5);
  const encoded = await encodeRows(type, { numbers, scales }, out);
  // f16 rounds the product of a half and a number of four bits, which may have 15 bits.
  const expected = Float64Array.from(numbers, (number, i) => {
    const value = number * (scales[Math.floor(i / SCALED_TOGETHER)] ?? 0);
    return type === "f16" ? nearestHalf(value) : value;
  });
  expect(encoded).toHaveLength(out.length - 5);
  expect([...dequantize(type, encoded, numbers.length)].map((value) => value + 0)).toEqual(
    [...expected].map((value) => value + 0),
  );
});

test("every finite half is its own nearest half, and what lies between two goes to the nearer or the even one", () => {
  for (let bits = 0; bits < 0x7bff; bits++) {
    const [half, next] = [halfToNumber(bits), halfToNumber(bits + 1)];
    expect([toHalf(half), nearestHalf(half)]).toEqual([bits, half]);
    const middle = (half + next) / 2;
    const even = bits % 2 === 0 ? half : next;
    expect([toHalf(-middle) & 0x7fff, nearestHalf(-middle)]).toEqual([bits + (bits % 2), 0 - even]);
    expect(nearestHalf(half + (next - half) * 0.49)).toBe(half);
    expect(toHalf(half + (next - half) * 0.51)).toBe(bits + 1);
  }
});

test("weights are spread evenly and have no mean", () => {
  const weights = new Int8Array(1 << 16);
  new WeightStream(9n, "weights").fill(weights);
  const counts = new Map<number, number>();
  for (const weight of weights) counts.set(weight, (counts.get(weight) ?? 0) + 1);
  for (let weight = -7; weight <= 7; weight++) {
    const p = weight === 0 ? 2 / 16 : 1 / 16;
    const deviation = Math.sqrt(weights.length * p * (1 - p));
    expect(Math.abs((counts.get(weight) ?? 0) - weights.length * p)).toBeLessThan(5 * deviation);
  }
  expect(counts.size).toBe(15);
});

/** In one layer, for every token of a large vocabulary as if it stood alone and attention added nothing. */
const MANY_TOKENS = { ...TINY_SYNTHETIC.shape, layers: 1, vocab: 1024 };

/** weights · x for each row of `inputs`; [input][row]. */
function products(weights: Matrix, inputs: Matrix): Float64Array[] {
  return Array.from({ length: inputs.rows }, (_, input) =>
    Float64Array.from({ length: weights.rows }, (_, row) => {
      const [from, start] = [row * weights.cols, input * weights.cols];
      let sum = 0;
      for (let i = 0; i < weights.cols; i++) {
        sum += (weights.data[from + i] ?? 0) * (inputs.data[start + i] ?? 0);
      }
      return sum;
    }),
  );
}

describe("gates", () => {
  test.each<[string, Partial<SynthOptions>]>([
    ["of full rank in Q4_0", { type: "q4_0" }],
    ["of low rank in Q4_0", { type: "q4_0", predictor: { rank: 256, type: "q4_0" } }],
    ["of full rank in F16", { type: "f16" }],
    ["of full rank in Q4_K", { type: "q4_k" }],
    ["of low rank in Q6_K", { type: "q6_k", predictor: { rank: 512, type: "q6_k" } }],
  ])("%s fire as often as the power law says", async (_what, options) => {
    const given = { ...options, shape: MANY_TOKENS };
    const model = readOracleModel(await writeSynthetic(join(folder, "gates.gguf"), given));
    const gate = model.layers[0]?.gate;
    if (gate === undefined) throw new Error("there is no layer");
    const fires = products(gate, model.embedding);
    const { ff, vocab } = MANY_TOKENS;
    const wanted = powerLaw(ff, 0.1, TINY_SYNTHETIC.skew);
    // A bias in units of its row's length ranks the neuron, whatever the tokens were.
    const biases = Float64Array.from({ length: ff }, (_, row) => {
      const weights = gate.data.subarray(row * gate.cols, (row + 1) * gate.cols);
      return (weights[0] ?? 0) / Math.hypot(...weights.subarray(1));
    });
    const ranked = [...biases.keys()].sort((a, b) => (biases[b] ?? 0) - (biases[a] ?? 0));
    // Neurons share their tokens, so only the tokens are independent: each gives one count a group of ranks.
    for (let first = 0; first < ff; first += 64) {
      const group = ranked.slice(first, first + 64);
      const counts = fires.map((gates) => group.filter((neuron) => (gates[neuron] ?? 0) > 0).length);
      const mean = counts.reduce((sum, count) => sum + count, 0) / vocab;
      const variance = counts.reduce((sum, count) => sum + (count - mean) ** 2, 0) / (vocab - 1);
      const expected = wanted.subarray(first, first + 64).reduce((sum, p) => sum + p, 0);
      expect(Math.abs(mean - expected), `ranks from ${first}`).toBeLessThan(5 * Math.sqrt(variance / vocab));
    }
  });
});

describe.each(TYPES)("a predictor in %s", (type) => {
  test("finds the neurons that fire, and few others", async () => {
    const given = { shape: MANY_TOKENS, type, predictor: { rank: 512, type } };
    const model = readOracleModel(await writeSynthetic(join(folder, "predictor.gguf"), given));
    const [layer] = model.layers;
    if (layer?.predictor === null || layer === undefined) throw new Error("there is no predictor");
    const { fc1, fc2 } = layer.predictor;
    const inputs = { ...model.embedding, rows: 256 };
    const gates = products(layer.gate, inputs);
    const hidden = products(fc1, inputs).map((row) => row.map((value) => Math.max(0, value)));
    const stacked = {
      ...fc1,
      rows: 256,
      cols: fc1.rows,
      data: Float64Array.from(hidden.flatMap((h) => [...h])),
    };
    const logits = products(fc2, stacked);
    let [fired, predicted, both] = [0, 0, 0];
    for (const [token, row] of gates.entries()) {
      for (const [neuron, value] of row.entries()) {
        const isPredicted = (logits[token]?.[neuron] ?? 0) >= 0;
        if (value > 0) fired++;
        if (isPredicted) predicted++;
        if (value > 0 && isPredicted) both++;
      }
    }
    expect(both / fired).toBeGreaterThan(0.95);
    expect(predicted / fired).toBeLessThan(1.1);
    expect(fired).toBeGreaterThan(0);
  });
});
