/** Whether the bounds that judge the engines would notice a fault, and let faultless engines pass. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { WeightType } from "../../native/index.js";
import { forward } from "../oracle/forward.js";
import { type Matrix, type OracleLayer, type OracleModel, readOracleModel } from "../oracle/model.js";
import { EngineRounding, LlamaCppRounding } from "../oracle/rounding.js";
import { studentT } from "../oracle/student-t.js";
import { Tolerance } from "../oracle/tolerance.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const random = new Random(5);
const tokens = Array.from({ length: 24 }, () => random.integer(256));

describe.each<WeightType>(["f32", "f16", "q8_0", "q4_0"])("tolerance for %s weights", (type) => {
  let model: OracleModel;
  let tolerance: Tolerance;
  beforeAll(async () => {
    model = readOracleModel(await writeTinyModel(join(folder, `${type}.gguf`), { type, ropeFactors: true }));
    tolerance = Tolerance.ofMachine(model, [tokens], (draws) => new EngineRounding(draws));
  });

  const ratioOf = (wrong: OracleModel) => tolerance.judge(forward(wrong, tokens)).ratio;
  const withLayer = (index: number, change: (layer: OracleLayer) => Partial<OracleLayer>): OracleModel => ({
    ...model,
    layers: model.layers.map((layer, l) => (l === index ? { ...layer, ...change(layer) } : layer)),
  });

  test("lets faultless arithmetic pass, with little room to spare", () => {
    const ratios = Array.from({ length: 8 }, (_, run) => {
      const rounding = new EngineRounding(new Random(1000 + run));
      return tolerance.judge(forward(model, tokens, rounding)).ratio;
    });
    expect(Math.max(...ratios)).toBeLessThan(1);
    expect(Math.min(...ratios)).toBeGreaterThan(0.2);
  });

  test.each([0, 40, 72])("notices that neuron %i is missing from the middle layer", (neuron) => {
    expect(ratioOf(withLayer(1, ({ down }) => ({ down: withoutColumn(down, neuron) })))).toBeGreaterThan(1);
  });

  test.each([0, 1, 2])("notices queries of layer %i rotated one position too far", (layer) => {
    const { headDim, ropeBase } = model.shape;
    const wrong = withLayer(layer, ({ q }) => ({ q: rotatedOnce(q, headDim, ropeBase, model.ropeFactors) }));
    expect(ratioOf(wrong)).toBeGreaterThan(1);
  });

  test("notices rotary factors left out, heads that share the wrong keys, and other activations", () => {
    expect(ratioOf({ ...model, ropeFactors: null })).toBeGreaterThan(1);
    const { headDim } = model.shape;
    expect(ratioOf(withLayer(0, ({ k }) => ({ k: rowsMoved(k, headDim) })))).toBeGreaterThan(1);
    expect(ratioOf({ ...model, shape: { ...model.shape, activation: "relu2" } })).toBeGreaterThan(1);
    expect(ratioOf({ ...model, shape: { ...model.shape, reluThreshold: 0.1 } })).toBeGreaterThan(1);
  });

  test("notices one wrong logit", () => {
    const logits = forward(model, tokens);
    const row = logits[11] ?? new Float64Array();
    row[3] = (row[3] ?? 0) + 2 * tolerance.limits.largest * (tolerance.sigmas[11] ?? 0);
    expect(tolerance.judge(logits).ratio).toBeGreaterThan(1);
    expect(tolerance.judge(logits).errors.rms).toBeLessThan(tolerance.limits.rms);
  });

  test("refuses numbers that are none, and rows that are missing", () => {
    const logits = forward(model, tokens);
    logits[2]?.fill(Number.NaN);
    expect(tolerance.judge(logits).ratio).toBeNaN();
    expect(() => tolerance.judge(logits.slice(1))).toThrow("rows");
  });
});

test("f16 inputs, as llama.cpp takes them, are told from the engine's f32 inputs", async () => {
  const model = readOracleModel(await writeTinyModel(join(folder, "f16-inputs.gguf"), { type: "f16" }));
  const tolerance = Tolerance.ofMachine(model, [tokens], (draws) => new EngineRounding(draws));
  const rounding = new LlamaCppRounding(new Random(1));
  expect(tolerance.judge(forward(model, tokens, rounding)).ratio).toBeGreaterThan(1);
});

test("Student's t has the quantiles that are tabulated", () => {
  // NIST/SEMATECH e-Handbook of Statistical Methods, section 1.3.6.7.2.
  expect(studentT(0.05, 10)).toBeCloseTo(1.812, 3);
  expect(studentT(0.001, 15)).toBeCloseTo(3.733, 3);
  expect(studentT(0.025, 1)).toBeCloseTo(12.706, 2);
});

function withoutColumn(matrix: Matrix, column: number): Matrix {
  return { ...matrix, data: matrix.data.map((value, i) => (i % matrix.cols === column ? 0 : value)) };
}

function rowsMoved(matrix: Matrix, rows: number): Matrix {
  const data = matrix.data.map((_, i) => matrix.data[(i + rows * matrix.cols) % matrix.data.length] ?? 0);
  return { ...matrix, data };
}

/** Rotating the weights' rows rotates what they produce. */
function rotatedOnce(matrix: Matrix, headDim: number, base: number, factors: Float64Array | null): Matrix {
  const at = (row: number, col: number) => matrix.data[row * matrix.cols + col] ?? 0;
  const data = matrix.data.map((_, i) => {
    const row = Math.floor(i / matrix.cols);
    const col = i % matrix.cols;
    const pair = Math.floor((row % headDim) / 2);
    const angle = base ** ((-2 * pair) / headDim) / (factors?.[pair] ?? 1);
    return row % 2 === 0
      ? at(row, col) * Math.cos(angle) - at(row + 1, col) * Math.sin(angle)
      : at(row - 1, col) * Math.sin(angle) + at(row, col) * Math.cos(angle);
  });
  return { ...matrix, data };
}
