/** What `thermocline profile` prints. */
import { expect, test } from "vitest";
import { reportJson, reportText, stageText } from "../../coordinator/cli/profile-output.js";
import { summarize } from "../../coordinator/profile/analysis.js";
import type { ProfileReport } from "../../coordinator/profile/run.js";
import { profileOf } from "../support/profiles.js";
import { TEST_MODEL } from "../support/public-server.js";

const MODEL = { ...TEST_MODEL, shape: { ...TEST_MODEL.shape, layers: 2, ff: 5 } };
const PROFILE = profileOf(MODEL, {
  "a.txt": [500, 300, 200, 0, 0, 0, 0, 0, 0, 0],
  "b.txt": [0, 600, 400, 200, 0, 0, 0, 0, 0, 0],
});
PROFILE.source({ name: "not yet.txt", digest: "c", contextLength: 16 });
const REPORT: ProfileReport = {
  model: MODEL,
  path: "/models/test.profile.gguf",
  profile: PROFILE,
  counted: { tokensRead: 500, tokens: 1500, seconds: 4 },
};

test("for people", () => {
  expect(reportText(REPORT, summarize(PROFILE))).toBe(
    "2000 tokens (500 read now, 125.0 tokens/s): a.txt (1000), b.txt (1000)\n" +
      "11.00 % of the neurons fire for a token, so the sparsity is 89.00 % " +
      "(fire in layers: least 0.00 %, median 22.00 %, most 22.00 %)\n" +
      "30.00 % of the neurons carry 80 % of the activations (in layers: least 0.00 %, median 60.00 %, most 60.00 %)\n" +
      "hot neurons of a.txt and b.txt: 33.33 % in common; a.txt's carry 50.00 % of b.txt's activations, b.txt's 50.00 % " +
      "of a.txt's\n" +
      "profile: /models/test.profile.gguf\n",
  );
});

test("of a profile that was there, nothing was read", () => {
  const counted = { tokensRead: 0, tokens: 0, seconds: 0 };
  const text = reportText({ ...REPORT, counted }, summarize(PROFILE));
  expect(text).toMatch(/^2000 tokens: a\.txt \(1000\), b\.txt \(1000\)\n/);
});

test("for programs", () => {
  const values = JSON.parse(reportJson(REPORT, summarize(PROFILE))) as Record<string, unknown>;
  expect(values).toMatchObject({
    model: MODEL.path,
    profile: REPORT.path,
    activation: "relu",
    reluThreshold: MODEL.shape.reluThreshold,
    hotShare: 0.8,
    tokens: 2000,
    hot: 0.3,
    layers: [
      { layer: 0, hot: 0.6 },
      { layer: 1, hot: 0 },
    ],
    overlaps: [{ texts: ["a.txt", "b.txt"], carried: [0.5, 0.5] }],
    tokensRead: 500,
    tokensAsked: 1500,
    seconds: 4,
  });
  expect(values.sources).toEqual(
    ["a.txt", "b.txt"].map((name) => ({
      name,
      digest: name.padEnd(64, "0"),
      contextLength: 16,
      windows: 7,
      tokens: 1000,
    })),
  );
});

test.each([
  [{ kind: "tokenizing", characters: 4096 }, "tokenizing 4096 characters"],
  [{ kind: "loading", bytesDone: 1024, bytesTotal: 4096 }, "loading the model: 1.00 KiB of 4.00 KiB"],
  [
    { kind: "counting", text: "a.txt", tokensRead: 500, tokens: 2000, seconds: 50 },
    "a.txt: 500 of 2000 tokens (25 %), 10.0 tokens/s, 02:30 left",
  ],
] as const)("%j", (stage, text) => {
  expect(stageText(stage)).toBe(text);
});
