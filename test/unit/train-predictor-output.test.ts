/** What `train-predictor` prints. */
import { expect, test } from "vitest";
import { reportText, stageText } from "../../coordinator/cli/train-predictor-output.js";
import { layerCost, predictorBytes } from "../../coordinator/predictors/cost.js";
import type { CandidateReport } from "../../coordinator/predictors/train-layer.js";

const SEEN = { rows: 10, fired: 100, predicted: 200, found: 95 };
const CHOSEN: CandidateReport = {
  test: SEEN,
  kind: "trained",
  rank: 32,
  recall: 0.95,
  precision: 0.475,
  predictedShare: 0.2,
  cost: layerCost(1000, { gate: 100, rest: 200 }, 100, SEEN),
  ffnShare: 0.03,
};

test("a predictor's cost is itself, the gates it lets be read, and the rest of what fires", () => {
  expect(CHOSEN.cost).toEqual({ predictorBytes: 1000, bytes: 1000 + 2000 + 1900, exactBytes: 10_000 + 2000 });
  expect(predictorBytes("q8_0", 64, 192, 768)).toBe(64 * 960 * (34 / 32));
});

test("layers with and without a predictor have a line each, and perplexity is compared", () => {
  const estimate = { tokens: 10, meanNll: 2, perplexity: 10, standardError: null };
  const measurement = { windowsDone: 1, tokensRead: 20, seconds: 1, firedShare: 0.1, predictedShare: 0 };
  const text = reportText({
    model: "m.gguf",
    out: "o.gguf",
    options: { recall: 0.95, type: "q8_0", epochs: 3, seed: 0 },
    tokens: 512,
    layers: [
      { layer: 0, firedShare: 0.1, chosen: CHOSEN, candidates: [CHOSEN], seconds: 3 },
      { layer: 1, firedShare: 0.9, chosen: null, candidates: [], seconds: 1 },
    ],
    perplexity: {
      without: { ...measurement, estimate },
      with: { ...measurement, estimate: { ...estimate, perplexity: 10.05 } },
    },
    collectSeconds: 1,
    trainSeconds: 4,
  });
  const [, first, second, perplexity] = text.split("\n");
  expect(first).toMatch(/^ +0 +10\.0 % +trained +32 +95\.0 % +47\.5 % .* 3\.0 % +20\.0 % +2\.45 /);
  expect(second).toMatch(/^ +1 +90\.0 % +none .* 1\.00 /);
  expect(perplexity).toBe("perplexity 10.0000 without predictors, 10.0500 with them: +0.50 %");
  expect(text).toMatch(/wrote o\.gguf\n$/);
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

test("going on says from where", () => {
  expect(stageText({ kind: "resuming", folder: "o.gguf.train", windowsDone: 3, windows: 12 })).toBe(
    "goes on in o.gguf.train, which has 3 of 12 windows of activations",
  );
});
