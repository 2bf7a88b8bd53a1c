/**
 * The engine's logits against the oracle's on models that differ in more than weights: layouts, shapes, extras. Neither
 * the placement nor where the weights are may change a bit.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import type { EngineOptions, Schedule, WeightType } from "../../native/index.js";
import { forward } from "../oracle/forward.js";
import { type OracleModel, readOracleModel } from "../oracle/model.js";
import { EngineRounding } from "../oracle/rounding.js";
import { Tolerance } from "../oracle/tolerance.js";
import { EngineStack } from "../support/engine-stack.js";
import { placement, placements } from "../support/placements.js";
import { Random } from "../support/random.js";
import { firstDifference } from "../support/same-bits.js";
import { interleaved, runSteps } from "../support/steps.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { TINY, type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";
import { TINY_VOCAB } from "../support/tiny-vocabulary.js";

const folder = temporaryFolder();
const random = new Random(77);
const sequences = [14, 9, 5].map((length) => Array.from({ length }, () => random.integer(TINY_VOCAB)));
const steps = interleaved(sequences, [3, 2, 2]);

async function logitsOf(model: Model, schedule: Schedule, engine: Partial<EngineOptions> = {}) {
  const stack = await EngineStack.start(model, schedule, { engine });
  try {
    return await runSteps(stack, steps);
  } finally {
    await stack.close();
  }
}

const variants: { name: string; options: Partial<TinyModelOptions>; types: WeightType[] }[] = [
  {
    name: "down-projection one row an output",
    options: { downTransposed: false, activation: "silu" },
    types: ["f32", "f16", "q8_0", "q4_0"],
  },
  {
    name: "sparse neurons, down-projection one row an output",
    options: { downTransposed: false, activation: "relu2" },
    types: ["f32", "f16", "q8_0", "q4_0"],
  },
  {
    name: "neurons with a threshold, down-projection one row an output",
    options: { downTransposed: false, reluThreshold: 0.25 },
    types: ["f32", "q4_0"],
  },
  { name: "a head of its own", options: { tied: false }, types: ["f16", "q8_0"] },
  { name: "heads wider than the residual's share", options: { headDim: 32 }, types: ["f32", "q8_0"] },
  { name: "as many key/value heads as heads", options: { kvHeads: 4 }, types: ["f32"] },
  { name: "one key/value head", options: { kvHeads: 1 }, types: ["f32", "q4_0"] },
  { name: "layer norms without weights", options: { architecture: "olmo" }, types: ["f32", "q8_0"] },
  {
    name: "layer norms with biases, halves of heads that turn in part",
    options: { architecture: "orion", ropeDims: 12 },
    types: ["f32", "q4_0"],
  },
  { name: "rotary factors", options: { ropeFactors: true }, types: ["f32", "q8_0"] },
  {
    name: "sizes that fit no vector register",
    options: { embd: 54, heads: 3, kvHeads: 1, headDim: 18, ff: 101 },
    types: ["f32", "f16"],
  },
  { name: "more neurons than a segment takes", options: { ff: 352, layers: 2 }, types: ["f32", "q4_0"] },
];

describe.each(variants.flatMap(({ types, ...variant }) => types.map((type) => ({ ...variant, type }))))(
  "$name, $type",
  ({ name, options, type }) => {
    const shape = { ...TINY, ...options };
    const group = shape.downTransposed ? 1 : 32;
    let model: Model;
    let tolerance: Tolerance;
    /** Logits of one executor. */
    let plain: Float32Array[];
    beforeAll(async () => {
      model = await writeTinyModel(join(folder, `${name}-${type}.gguf`.replaceAll(/[ /]/g, "-")), {
        ...options,
        type,
      });
      tolerance = Tolerance.ofMachine(
        readOracleModel(model),
        sequences,
        (draws) => new EngineRounding(draws),
      );
      plain = await logitsOf(model, placement(shape, "one CPU executor", group));
    });

    test.each(
      placements(shape, group).flatMap((placement) =>
        (["mapped", "resident"] as const).map((residency) => ({ ...placement, residency })),
      ),
    )("$name, $residency", async ({ schedule, residency }) => {
      const logits = await logitsOf(model, schedule, { residency, threads: 2 });
      expect(tolerance.judge(logits).ratio, "error over limit").toBeLessThan(1);
      expect(firstDifference(logits, plain)).toBeNull();
    });
  },
);

/**
 * A predictor's decision near its threshold may fall either way, as may a gate's near its own; random rounding makes
 * it fall either way too, so the limits allow for as many turned decisions as the formats explain.
 */
describe.each<[WeightType, number]>([
  ["f32", 0],
  ["f32", 0.25],
  ["f16", 0],
  ["q8_0", 0],
  ["q4_0", 0],
  ["q4_0", 0.25],
])("predictor of %s weights, gates with a threshold of %d", (type, reluThreshold) => {
  let model: Model;
  let oracle: OracleModel;
  let tolerance: Tolerance;
  let plain: Float32Array[];
  beforeAll(async () => {
    model = await writeTinyModel(join(folder, `predictor-${type}-${reluThreshold}.gguf`), {
      type,
      reluThreshold,
      predictorRank: 32,
    });
    oracle = readOracleModel(model);
    tolerance = Tolerance.ofMachine(oracle, sequences, (draws) => new EngineRounding(draws));
    plain = await logitsOf(model, placement(TINY, "one CPU executor"));
  });

  test.each(placements(TINY, 1))("$name", async ({ schedule }) => {
    const logits = await logitsOf(model, schedule);
    expect(tolerance.judge(logits).ratio, "error over limit").toBeLessThan(1);
    expect(firstDifference(logits, plain)).toBeNull();
  });

  test("leaving it out, or asking it about the normed residual, would be noticed", () => {
    const ratioOf = (layers: OracleModel["layers"]) =>
      tolerance.judge(sequences.flatMap((tokens) => forward({ ...oracle, layers }, tokens))).ratio;
    expect(ratioOf(oracle.layers.map((layer) => ({ ...layer, predictor: null })))).toBeGreaterThan(1);
    const first = ({ predictor, ffnNorm }: (typeof oracle.layers)[number]) =>
      predictor === null
        ? null
        : {
            ...predictor,
            fc1: {
              ...predictor.fc1,
              data: predictor.fc1.data.map(
                (value, i) => value * (ffnNorm.weight?.data[i % model.shape.embd] ?? 1),
              ),
            },
          };
    expect(ratioOf(oracle.layers.map((layer) => ({ ...layer, predictor: first(layer) })))).toBeGreaterThan(1);
  });
});
