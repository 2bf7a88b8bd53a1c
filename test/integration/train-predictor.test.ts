/** Predictors trained on real executors, for every way in which a gate can decide whether its neuron fires. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { recordBytes } from "../../coordinator/predictors/row-sets.js";
import {
  type TrainPredictorOptions,
  type TrainStage,
  trainPredictors,
} from "../../coordinator/predictors/train.js";
import type { Activation } from "../../native/index.js";
import { type Matrix, readOracleModel } from "../oracle/model.js";
import { DIST, ENTRIES } from "../support/executor-processes.js";
import { TINY_SYNTHETIC, writeSynthetic } from "../support/synthetic-model.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const textPath = join(folder, "text.txt");
writeFileSync(
  textPath,
  Array.from({ length: 40 }, (_, day) => `On day ${day * day} the gull saw ${7 * day} boats.`).join("\n"),
);

const SHAPE = { ...TINY_SYNTHETIC.shape, layers: 2, ff: 512, contextLength: 64 };
const OPTIONS: Omit<TrainPredictorOptions, "modelPath" | "out"> = {
  activation: null,
  reluThreshold: null,
  textPaths: [textPath],
  evalTextPath: null,
  replace: false,
  recall: 0.95,
  tokens: 640,
  diskBytes: 2 ** 30,
  // What is stored is then what is computed.
  type: "f32",
  mostRank: 32,
  epochs: 1,
  layers: null,
  seed: 1,
  threads: 1,
  keepWork: true,
  logLevel: "warn",
};
const WATCH = {
  onStage: () => undefined,
  signal: new AbortController().signal,
  entries: ENTRIES,
  encoderEntry: pathToFileURL(join(DIST, "coordinator/model/tokenizer/encode-worker.js")),
};

/** Gates of few directions, so that small predictors know them; in PowerInfer's format, with predictors of its own. */
let model: Model;
beforeAll(async () => {
  model = await writeSynthetic(join(folder, "model.pwri"), {
    shape: SHAPE,
    format: "pwri",
    type: "f32",
    predictor: { rank: 64, type: "f32" },
  });
});

interface Row {
  input: Float32Array;
  fired: (neuron: number) => boolean;
}

/** What was collected of a layer for the figures. */
function testRows(out: string, layer: number): Row[] {
  const { embd, ff } = SHAPE;
  const bytes = readFileSync(join(`${out}.train`, `layer-${layer}.test.rows`));
  const record = recordBytes({ embd, ff });
  return Array.from({ length: bytes.length / record }, (_, row) => {
    const at = row * record;
    return {
      input: Float32Array.from({ length: embd }, (_, i) => bytes.readFloatLE(at + 4 * i)),
      fired: (neuron) => (((bytes[at + 4 * embd + (neuron >> 3)] ?? 0) >> (neuron & 7)) & 1) === 1,
    };
  });
}

/** Products with a vector in float64, and how far f32 sums in any order may be from them (Higham 2002, section 4.2). */
function multiply(matrix: Matrix, x: ArrayLike<number>): { value: number; doubt: number }[] {
  return Array.from({ length: matrix.rows }, (_, row) => {
    let value = 0;
    let spread = 0;
    for (let i = 0; i < matrix.cols; i++) {
      const product = (matrix.data[row * matrix.cols + i] ?? 0) * (x[i] ?? 0);
      value += product;
      spread += Math.abs(product);
    }
    return { value, doubt: 2 * spread * matrix.cols * 2 ** -24 };
  });
}

describe.each<{ activation: Activation | null; reluThreshold: number | null }>([
  { activation: null, reluThreshold: null },
  { activation: null, reluThreshold: 0.5 },
  { activation: "relu2", reluThreshold: null },
  { activation: "relu2", reluThreshold: 0.25 },
])("of gates with %j", ({ activation, reluThreshold }) => {
  const out = join(folder, `${activation}-${reluThreshold}.pwri`);
  const threshold = reluThreshold ?? 0;

  test("they learn what the engine computes, find what they say, and take the place of others", async () => {
    const report = await trainPredictors(
      { ...OPTIONS, modelPath: model.path, out, activation, reluThreshold },
      WATCH,
    );
    const written = await loadModel(out, {});
    expect(written.shape).toEqual({
      ...model.shape,
      activation: activation ?? "relu",
      reluThreshold: threshold,
    });
    expect(written.file.format).toBe("pwri");
    const oracle = readOracleModel(written);
    for (const { layer, chosen } of report.layers) {
      const weights = oracle.layers[layer];
      if (chosen === null || weights?.predictor == null) throw new Error(`layer ${layer} has no predictor`);
      const { gate, ffnNorm, predictor } = weights;
      expect(predictor.fc1.rows).toBe(chosen.rank);
      expect(chosen.rank).toBeLessThanOrEqual(OPTIONS.mostRank);
      let pairs = 0;
      let fired = 0;
      let predicted = 0;
      let found = 0;
      let doubtful = 0;
      for (const row of testRows(out, layer)) {
        const meanSquare = row.input.reduce((sum, x) => sum + x * x, 0) / SHAPE.embd;
        const scale = 1 / Math.sqrt(meanSquare + model.shape.normEpsilon);
        const gates = multiply(
          gate,
          Float64Array.from(row.input, (x, i) => x * scale * (ffnNorm.weight?.data[i] ?? 0)),
        );
        const hidden = multiply(predictor.fc1, row.input).map(({ value }) => Math.max(0, value));
        const logits = multiply(predictor.fc2, hidden);
        for (const [neuron, { value, doubt }] of gates.entries()) {
          const fires = row.fired(neuron);
          if (Math.abs(value - threshold) <= doubt) {
            doubtful++;
          } else {
            expect(fires, `layer ${layer}, neuron ${neuron}`).toBe(value > threshold);
          }
          const logit = logits[neuron] ?? { value: 0, doubt: 0 };
          if (Math.abs(logit.value) <= logit.doubt) doubtful++;
          const taken = logit.value >= 0;
          pairs++;
          fired += fires ? 1 : 0;
          predicted += taken ? 1 : 0;
          found += fires && taken ? 1 : 0;
        }
      }
      expect(doubtful).toBeLessThan(pairs / 1000);
      const { recall, precision, predictedShare, test: seen } = chosen;
      expect(seen).toMatchObject({ rows: pairs / SHAPE.ff, fired });
      expect(Math.abs(seen.predicted - predicted)).toBeLessThanOrEqual(doubtful);
      expect(Math.abs(seen.found - found)).toBeLessThanOrEqual(doubtful);
      expect(recall).toBe(seen.found / seen.fired);
      expect(precision).toBe(seen.found / seen.predicted);
      expect(predictedShare).toBe(seen.predicted / pairs);
      expect(recall).toBeGreaterThan(0.9);
      // They do choose.
      expect(predictedShare).toBeLessThan(0.5);
    }
    expect(report.perplexity.with?.estimate?.perplexity).toBeGreaterThan(1);
  });
});

test("going on reads as many windows as before, also where there is more room by then", async () => {
  const out = join(folder, "resumed.pwri");
  const bytesPerWindow = SHAPE.layers * SHAPE.contextLength * recordBytes(SHAPE);
  const windows = 6;
  const seen: TrainStage[] = [];
  const until = (last: (stage: TrainStage) => boolean, diskBytes: number) => {
    const control = new AbortController();
    const onStage = (stage: TrainStage) => {
      seen.push(stage);
      if (last(stage)) control.abort(new Error("enough"));
    };
    const options = { ...OPTIONS, modelPath: model.path, out, tokens: null, diskBytes };
    return expect(trainPredictors(options, { ...WATCH, onStage, signal: control.signal })).rejects.toThrow(
      "enough",
    );
  };
  await until((stage) => stage.kind === "collecting" && stage.windowsDone === 3, windows * bytesPerWindow);
  expect(seen.at(-1)).toEqual({ kind: "collecting", windowsDone: 3, windows });
  await until(({ kind }) => kind === "resuming", 2 ** 30);
  expect(seen.at(-1)).toEqual({ kind: "resuming", folder: `${out}.train`, windowsDone: 3, windows });
});

describe("what cannot be trained is said before anything is done", () => {
  test.each<[string, Partial<TrainPredictorOptions>, RegExp]>([
    [
      "neurons that always fire",
      { activation: "silu" },
      /^.*model\.pwri: its activation is silu, under which every neuron is active, so there is nothing to predict; give a model with ReLU gates, or say with --activation /,
    ],
    [
      "a type that PowerInfer's files have not",
      { type: "bf16" },
      /^.*model\.pwri: PWRI files have no type BF16; choose --type f16$/,
    ],
    [
      "ranks below a block's",
      { type: "q8_0", mostRank: 16 },
      /^.*model\.pwri: the least rank of predictors stored as Q8_0 is 32; give that to --max-rank, or more$/,
    ],
    [
      "layers that are not there",
      { layers: { first: 1, last: 2 } },
      /^--layers is 1-2, and .*model\.pwri has layers 0 to 1; give a range of those$/,
    ],
  ])("%s", async (_, given, message) => {
    const out = join(folder, "refused.pwri");
    const training = trainPredictors({ ...OPTIONS, modelPath: model.path, out, ...given }, WATCH);
    await expect(training).rejects.toThrow(
      expect.objectContaining({ message: expect.stringMatching(message) }),
    );
  });

  test("gates behind a LayerNorm", async () => {
    const orion = await writeTinyModel(join(folder, "orion.gguf"), { architecture: "orion" });
    const out = join(folder, "refused.gguf");
    await expect(trainPredictors({ ...OPTIONS, modelPath: orion.path, out }, WATCH)).rejects.toThrow(
      "predictors cannot be trained yet for models with LayerNorm, such as those of the architecture orion; give one",
    );
  });

  test("rows that are no whole blocks of the type", async () => {
    const narrow = await writeSynthetic(join(folder, "narrow.gguf"), {
      shape: { ...SHAPE, embd: 320, heads: 5, kvHeads: 5 },
      type: "f32",
    });
    const out = join(folder, "refused.gguf");
    const options = { ...OPTIONS, modelPath: narrow.path, out, type: "q4_k", mostRank: 256 } as const;
    await expect(trainPredictors(options, WATCH)).rejects.toThrow(
      "its width 320 is no multiple of the 256 elements that Q4_K stores together; choose --type f16",
    );
  });
});
