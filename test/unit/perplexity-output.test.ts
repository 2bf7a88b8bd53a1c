/** What `thermocline perplexity` prints. */
import { expect, test } from "vitest";
import { reportJson, reportText, stageText } from "../../coordinator/cli/perplexity-output.js";
import type { PerplexityReport } from "../../coordinator/perplexity/run.js";
import { TEST_MODEL } from "../support/public-server.js";

const ESTIMATE = { tokens: 510, meanNll: Math.log(12.5), perplexity: 12.5, standardError: 0.123456 };
const REPORT: PerplexityReport = {
  model: TEST_MODEL,
  contextLength: 512,
  windows: 3,
  windowsDone: 2,
  estimate: ESTIMATE,
  tokensRead: 1200,
  seconds: 4,
  firedShare: 0.1234,
  predictedShare: 0.25,
};

test("a model with predictors, for people", () => {
  expect(reportText(REPORT, ESTIMATE)).toBe(
    "PPL = 12.5000 +/- 0.12346\n" +
      "510 tokens scored: the second half of each window of 512, 2 of 3 windows\n" +
      "300.0 tokens/s, 12.34 % of the neurons active\n" +
      "predictors took 25.00 % for active, from the logit 0 on\n",
  );
});

test("one token without predictors, for people", () => {
  const model = { ...REPORT.model, hasPredictor: false };
  const text = reportText({ ...REPORT, model }, { ...ESTIMATE, tokens: 1, standardError: null });
  expect(text).toMatch(/^PPL = 12\.5000\n1 tokens scored: .*\n300\.0 tokens\/s, .* active\n$/);
});

test("for programs", () => {
  expect(JSON.parse(reportJson(REPORT, ESTIMATE))).toEqual({
    model: "/models/test.gguf",
    activation: "relu",
    reluThreshold: TEST_MODEL.shape.reluThreshold,
    predictorThreshold: 0,
    contextLength: 512,
    windows: 3,
    windowsDone: 2,
    tokensScored: 510,
    meanNll: ESTIMATE.meanNll,
    perplexity: 12.5,
    standardError: 0.123456,
    tokensRead: 1200,
    seconds: 4,
    tokensPerS: 300,
    activeShare: 0.1234,
    predictedShare: 0.25,
  });
  const model = { ...REPORT.model, hasPredictor: false };
  expect(JSON.parse(reportJson({ ...REPORT, model }, ESTIMATE))).toMatchObject({
    predictorThreshold: null,
    predictedShare: null,
  });
});

test.each([
  [{ kind: "tokenizing", characters: 4096 }, "tokenizing 4096 characters"],
  [{ kind: "loading", bytesDone: 1024, bytesTotal: 4096 }, "loading the model: 1.00 KiB of 4.00 KiB"],
  [
    { kind: "measuring", windowsDone: 0, windows: 40, share: 0.01, seconds: 60, perplexity: null },
    "0 of 40 windows (1 %), 1:39:00 left",
  ],
  [
    { kind: "measuring", windowsDone: 30, windows: 40, share: 0.75, seconds: 195, perplexity: 12.5 },
    "30 of 40 windows (75 %), PPL 12.5000, 01:05 left",
  ],
] as const)("%j", (stage, text) => {
  expect(stageText(stage)).toBe(text);
});
