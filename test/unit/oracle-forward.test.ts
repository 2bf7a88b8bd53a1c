import { join } from "node:path";
import { expect, test } from "vitest";
import { dequantize, halfToNumber } from "../oracle/dequantize.js";
import { forward } from "../oracle/forward.js";
import { type OracleModel, readOracleModel } from "../oracle/model.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const tokens = [5, 280, 17, 265];

async function tiny(options: Partial<TinyModelOptions>): Promise<OracleModel> {
  return readOracleModel(await writeTinyModel(join(folder, "tiny.gguf"), options));
}

test("halves have the values of IEEE 754", () => {
  const halves = [0x0000, 0x0001, 0x0400, 0x3c00, 0xc000, 0x7bff, 0x7c00];
  expect(halves.map(halfToNumber)).toEqual([0, 2 ** -24, 2 ** -14, 1, -2, 65504, Infinity]);
});

test("blocks hold a half's scale and quants: bytes in order, or halves of bytes 16 elements apart", () => {
  const q8 = Uint8Array.of(0x00, 0x38, 1, 255, ...new Uint8Array(29), 127);
  expect([...dequantize("q8_0", q8, 32)]).toEqual([0.5, -0.5, ...new Array(29).fill(0), 63.5]);
  const q4 = Uint8Array.of(0x00, 0x40, 0xf0, ...new Uint8Array(15).fill(0x88));
  const expected = new Array(32).fill(0);
  expected[0] = -16;
  expected[16] = 14;
  expect([...dequantize("q4_0", q4, 32)]).toEqual(expected);
});

test("K-quants hold scales and minimums of six bits for 32 elements, or scales of eight for 16", () => {
  // d 1, m 2; scales 1 to 8 and minimums 63 to 56, of which the last four are split.
  const scales = [1, 2, 3, 4, 5, 6, 7, 8];
  const minimums = [63, 62, 61, 60, 59, 58, 57, 56];
  const split = (of: number[], part: number) => (of[part] ?? 0) | (((of[part + 4] ?? 0) >> 4) << 6);
  const packed = [
    ...[0, 1, 2, 3].map((part) => split(scales, part)),
    ...[0, 1, 2, 3].map((part) => split(minimums, part)),
    ...[4, 5, 6, 7].map((part) => ((scales[part] ?? 0) & 15) | (((minimums[part] ?? 0) & 15) << 4)),
  ];
  const head = [0x00, 0x3c, 0x00, 0x40, ...packed];
  const expected = (quant: (part: number) => number) =>
    Array.from({ length: 256 }, (_, i) => {
      const part = Math.floor(i / 32);
      return (scales[part] ?? 0) * quant(part) - 2 * (minimums[part] ?? 0);
    });
  // Low nibbles 3 and high ones 12; fifth bits in parts 1 and 6.
  const nibbles = new Array(128).fill(0xc3);
  expect([...dequantize("q4_k", Uint8Array.from([...head, ...nibbles]), 256)]).toEqual(
    expected((part) => (part % 2 === 0 ? 3 : 12)),
  );
  const fifth = new Array(32).fill(0b0100_0010);
  expect([...dequantize("q5_k", Uint8Array.from([...head, ...fifth, ...nibbles]), 256)]).toEqual(
    expected((part) => (part % 2 === 0 ? 3 : 12) + (part === 1 || part === 6 ? 16 : 0)),
  );
  // Quarters of each half of 128: nibbles 3, 3, 12, 12; bit pairs 0, 1, 2, 3.
  const pairs = new Array(64).fill(0b11_10_01_00);
  const signed = Array.from({ length: 16 }, (_, part) => (part - 8) & 0xff);
  const q6 = Uint8Array.from([...nibbles, ...pairs, ...signed, 0x00, 0x38]);
  expect([...dequantize("q6_k", q6, 256)]).toEqual(
    Array.from({ length: 256 }, (_, i) => {
      const quarter = Math.floor((i % 128) / 32);
      const quant = (quarter < 2 ? 3 : 12) + 16 * quarter - 32;
      return 0.5 * (Math.floor(i / 16) - 8) * quant;
    }),
  );
  expect([...dequantize("bf16", Uint8Array.of(0xc0, 0x3f, 0x00, 0xc0), 2)]).toEqual([1.5, -2]);
});

test("the first token attends to itself alone, whatever its query and key", async () => {
  const model = await tiny({});
  const turned = model.layers.map((layer) => ({
    ...layer,
    q: times(layer.q, -1),
  }));
  const first = (given: OracleModel) => forward(given, tokens.slice(0, 1));
  expect(first({ ...model, layers: turned })).toEqual(first(model));
  expect(forward({ ...model, layers: turned }, tokens)[3]).not.toEqual(forward(model, tokens)[3]);
});

test("rotation knows how far positions lie apart and not where they are", async () => {
  const model = await tiny({ layers: 1 });
  // The values of equal tokens are equal, whatever share of attention each of them gets.
  const [once, twice, other] = forward(model, [7, 7, 8]);
  expect(largestDifference(once, twice)).toBeLessThan(1e-12);
  const [, next] = forward(model, [7, 8]);
  expect(largestDifference(other, next)).toBeGreaterThan(1e-3);
});

test("a neuron the predictor leaves out adds nothing", async () => {
  const model = await tiny({ predictorRank: 8 });
  const everything = { ...model, shape: { ...model.shape, predictorThreshold: -Infinity } };
  const nothing = { ...model, shape: { ...model.shape, predictorThreshold: Infinity } };
  const withoutPredictor = {
    ...model,
    layers: model.layers.map((layer) => ({ ...layer, predictor: null })),
  };
  const withoutNeurons = {
    ...withoutPredictor,
    layers: withoutPredictor.layers.map((layer) => ({ ...layer, down: times(layer.down, 0) })),
  };
  expect(forward(everything, tokens)).toEqual(forward(withoutPredictor, tokens));
  expect(forward(nothing, tokens)).toEqual(forward(withoutNeurons, tokens));
  expect(forward(model, tokens)).not.toEqual(forward(everything, tokens));
});

test("a gate below the threshold counts as 0, and one on it does not", async () => {
  const model = await tiny({ layers: 1 });
  // The FFN's input is 1 in every element, to the bit, and neuron 0's gate is the only one above 0.
  const withThreshold = (reluThreshold: number): OracleModel => ({
    ...model,
    shape: { ...model.shape, normEpsilon: 0, reluThreshold },
    embedding: filled(model.embedding, 1),
    head: model.embedding,
    layers: model.layers.map((layer) => ({
      ...layer,
      v: filled(layer.v, 0),
      ffnNorm: { weight: null, bias: null },
      gate: {
        ...layer.gate,
        data: layer.gate.data.map((_, i) => (i === 0 ? 0.5 : i % layer.gate.cols === 0 ? -1 : 0)),
      },
    })),
  });
  const logits = (reluThreshold: number) => forward(withThreshold(reluThreshold), tokens);
  expect(logits(0.5)).toEqual(logits(0));
  expect(logits(0.5 + 2 ** -53)).toEqual(logits(Infinity));
  expect(logits(0.5)).not.toEqual(logits(Infinity));
});

test("both layouts of the down-projection, and a repeated embedding as head, mean the same", async () => {
  const model = await tiny({ downTransposed: true });
  const standard = await tiny({ downTransposed: false });
  expect(standard.layers.map(({ down }) => [down.rows, down.cols])).toEqual(
    model.layers.map(({ down }) => [down.rows, down.cols]),
  );
  expect(forward({ ...model, head: times(model.embedding, 1) }, tokens)).toEqual(forward(model, tokens));
});

function filled(matrix: OracleModel["head"], value: number): OracleModel["head"] {
  return { ...matrix, data: new Float64Array(matrix.data.length).fill(value) };
}

function times(matrix: OracleModel["head"], factor: number): OracleModel["head"] {
  return { ...matrix, data: matrix.data.map((value) => value * factor) };
}

function largestDifference(
  a: Float64Array = new Float64Array(),
  b: Float64Array = new Float64Array(),
): number {
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}
