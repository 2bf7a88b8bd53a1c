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

test("both layouts of the down-projection, and a repeated embedding as head, mean the same", async () => {
  const model = await tiny({ downTransposed: true });
  const standard = await tiny({ downTransposed: false });
  expect(standard.layers.map(({ down }) => [down.rows, down.cols])).toEqual(
    model.layers.map(({ down }) => [down.rows, down.cols]),
  );
  expect(forward({ ...model, head: times(model.embedding, 1) }, tokens)).toEqual(forward(model, tokens));
});

function times(matrix: OracleModel["head"], factor: number): OracleModel["head"] {
  return { ...matrix, data: matrix.data.map((value) => value * factor) };
}

function largestDifference(
  a: Float64Array = new Float64Array(),
  b: Float64Array = new Float64Array(),
): number {
  return a.reduce((largest, value, i) => Math.max(largest, Math.abs(value - (b[i] ?? Number.NaN))), 0);
}
