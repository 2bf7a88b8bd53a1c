/** What `train-predictor` prints. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { reportText, stageText } from "../../coordinator/cli/train-predictor-output.js";
import type { Model } from "../../coordinator/model/model.js";
import {
  layerCost,
  type NeuronBytes,
  neuronBytes,
  predictorBytes,
} from "../../coordinator/predictors/cost.js";
import { totalOf } from "../../coordinator/predictors/total.js";
import type { TrainReport } from "../../coordinator/predictors/train.js";
import type { CandidateReport, LayerReport } from "../../coordinator/predictors/train-layer.js";
import type { TensorRef } from "../../native/index.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const SEEN = { rows: 10, fired: 100, predicted: 200, found: 95 };
const NEURON: NeuronBytes = { gate: 100, up: 150, down: 50, downTogether: 1 };
const CHOSEN: CandidateReport = {
  test: SEEN,
  kind: "trained",
  rank: 32,
  recall: 0.95,
  precision: 0.475,
  predictedShare: 0.2,
  cost: layerCost(1000, NEURON, 100, SEEN),
  ffnShare: 0.03,
};

test("a predictor's cost is itself, the gates it lets be read, and the rest of what fires", () => {
  const [bytes, exactBytes] = [1000 + 2000 + 1900, 10_000 + 2000];
  expect(CHOSEN.cost).toEqual({ predictorBytes: 1000, bytes, exactBytes, speedUp: exactBytes / bytes });
  expect(predictorBytes("q8_0", 64, 192, 768)).toBe(64 * 960 * (34 / 32));
});

test("of a down-projection stored by output, blocks with any neuron that fires are read", () => {
  // A tenth fires: of pairs of neurons 19 % have one that does.
  const { exactBytes } = layerCost(0, { ...NEURON, downTogether: 2 }, 100, SEEN);
  expect(exactBytes).toBeCloseTo(10_000 + 10 * NEURON.up + 19 * NEURON.down, 9);
  const tensor = (part: string, rows: number, cols: number): TensorRef => ({
    ...{ name: `blk.1.${part}.weight`, type: "q4_0", rows, cols, offset: 0 },
  });
  const tensors = [tensor("ffn_gate", 64, 32), tensor("ffn_up", 64, 32), tensor("ffn_down", 32, 64)];
  expect(neuronBytes(tensors, 1, 64)).toEqual({ gate: 18, up: 18, down: 18, downTogether: 32 });
  tensors[2] = tensor("ffn_down_t", 64, 32);
  expect(neuronBytes(tensors, 1, 64)).toEqual({ gate: 18, up: 18, down: 18, downTogether: 1 });
});

const NONE: CandidateReport = { ...CHOSEN, test: { rows: 10, fired: 900, predicted: 999, found: 890 } };
const LAYERS: LayerReport[] = [
  { layer: 0, firedShare: 0.1, chosen: CHOSEN, candidates: [CHOSEN], seconds: 3 },
  { layer: 1, firedShare: 0.9, chosen: null, candidates: [NONE], seconds: 1 },
];

/** Gates of 100 bytes, and 200 more for each of 100 neurons. */
async function modelOf(layers: number): Promise<Model> {
  const model = await writeTinyModel(join(folder, `${layers}.gguf`), { layers, embd: 64, ff: 96 });
  return { ...model, shape: { ...model.shape, ff: 100 } };
}

test("all layers together: sums of pairs and bytes, every neuron of a layer without a predictor", async () => {
  const model = await modelOf(2);
  const { bytes, exactBytes, predictorBytes } = CHOSEN.cost;
  const ffn = 2 * 3 * 64 * 96 * 4;
  const total = totalOf(model, LAYERS);
  expect(total).toMatchObject({
    ...{ layers: 2, withPredictor: 1, firedShare: 1000 / 2000, recall: 995 / 1000, precision: 995 / 1200 },
    ...{ predictedShare: 1200 / 2000, ffnShare: predictorBytes / ffn },
    cost: { predictorBytes, bytes: bytes + exactBytes, exactBytes: 2 * exactBytes },
  });
  // Everything but the FFN: the embedding is the head as well.
  const others = model.tensors
    .filter(({ name }) => !/ffn_(gate|up|down)/.test(name))
    .reduce((sum, { rows, cols }) => sum + rows * cols * 4, 0);
  expect(total?.token).toMatchObject({
    bytes: others + bytes + exactBytes,
    exactBytes: others + 2 * exactBytes,
    speedUp: (others + 2 * exactBytes) / (others + bytes + exactBytes),
  });
  expect(totalOf(await modelOf(3), LAYERS)?.token).toBeNull();
  expect(totalOf(model, [{ ...(LAYERS[0] as LayerReport), chosen: null, candidates: [] }])).toBeNull();
});

test("layers with and without a predictor have a line each, and all together; perplexity is compared", async () => {
  const estimate = { tokens: 10, meanNll: 2, perplexity: 10, standardError: null };
  const measurement = { windowsDone: 1, tokensRead: 20, seconds: 1, firedShare: 0.1, predictedShare: 0 };
  const report: TrainReport = {
    model: "m.gguf",
    out: "o.gguf",
    options: { recall: 0.95, type: "q8_0", epochs: 3, seed: 0 },
    tokens: 512,
    layers: LAYERS,
    total: totalOf(await modelOf(2), LAYERS),
    perplexity: {
      without: { ...measurement, estimate },
      with: { ...measurement, estimate: { ...estimate, perplexity: 10.05 } },
    },
    profileNote: null,
    collectSeconds: 1,
    trainSeconds: 4,
  };
  const text = reportText(report);
  const [, first, second, all, token, perplexity] = text.split("\n");
  expect(first).toMatch(/^ +0 +10\.0 % +trained +32 +95\.0 % +47\.5 % .* 3\.0 % +20\.0 % +2\.45 /);
  expect(second).toMatch(/^ +1 +90\.0 % +none .* 1\.00 /);
  expect(all).toMatch(/^ +all +50\.0 % +1 of 2 +- +99\.5 % +82\.9 % +1000 B .* 60\.0 % +1\.42 +-$/);
  expect(token).toMatch(
    /^a token reads [\d.]+ KiB of weights in place of [\d.]+ KiB: predicted speed-up 1\.\d\d$/,
  );
  expect(perplexity).toBe("perplexity 10.0000 without predictors, 10.0500 with them: +0.50 %");
  expect(text).toMatch(/wrote o\.gguf\n$/);
  expect(reportText({ ...report, total: null }).split("\n")[3]).toBe(perplexity);
});

test("training shows its place, epoch and loss, and what the best so far finds", () => {
  const stage = { kind: "training", layer: 3, place: 1, layers: 2 } as const;
  const candidate = { kind: "trained", rank: 64 } as const;
  const training = { epoch: 2, epochs: 5, done: 0.3, loss: 0.1234 };
  expect(stageText({ ...stage, candidate, training: null, best: null })).toBe(
    "layer 3 (1 of 2): trained, rank 64",
  );
  expect(stageText({ ...stage, candidate, training, best: CHOSEN })).toBe(
    "layer 3 (1 of 2): trained, rank 64, epoch 2 of 5 (30 %), loss 0.1234, best so far trained, rank 32: recall 95.0 %, precision 47.5 %",
  );
});

test("how much room activations take is said first, or what there is of them", () => {
  expect(stageText({ kind: "starting", folder: "o.gguf.train", windows: 12, bytes: 1536 })).toBe(
    "collects activations of 12 windows, 1.50 KiB, in o.gguf.train",
  );
  expect(stageText({ kind: "resuming", folder: "o.gguf.train", windowsDone: 3, windows: 12 })).toBe(
    "goes on in o.gguf.train, which has 3 of 12 windows of activations",
  );
});
