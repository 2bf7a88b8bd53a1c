/** What each use of predictors makes of a model. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { predictorText, withPredictor } from "../../coordinator/model/predictor.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const plain = await writeTinyModel(join(folder, "plain.gguf"), { layers: 2 });
const predicted = await writeTinyModel(join(folder, "predicted.pwri"), { layers: 2, predictorRank: 32 });
const PREDICTORS = ["blk.0.fc1.weight", "blk.0.fc2.weight", "blk.1.fc1.weight", "blk.1.fc2.weight"];

test("auto takes a model as its file is", () => {
  expect(withPredictor(plain, "auto")).toBe(plain);
  expect(withPredictor(predicted, "auto")).toBe(predicted);
});

test("on is the same for a model with predictors", () => {
  expect(withPredictor(predicted, "on")).toBe(predicted);
});

test("off leaves their tensors out, and nothing else", () => {
  const without = withPredictor(predicted, "off");
  expect(without.hasPredictor).toBe(false);
  const left = new Set(without.tensors.map(({ name }) => name));
  expect(predicted.tensors.map(({ name }) => name).filter((name) => !left.has(name))).toEqual(PREDICTORS);
  expect({ ...without, hasPredictor: true, tensors: predicted.tensors }).toEqual(predicted);
  expect(withPredictor(plain, "off")).toEqual(plain);
});

test("a threshold takes the place of the file's", () => {
  expect(withPredictor(predicted, { threshold: -2.5 })).toEqual({
    ...predicted,
    shape: { ...predicted.shape, predictorThreshold: -2.5 },
  });
});

test.each([
  ["on", "on"],
  [{ threshold: 0.5 }, "0.5"],
] as const)("%j is refused where there are none", (use, text) => {
  expect(predictorText(use)).toBe(text);
  expect(() => withPredictor(plain, use)).toThrow(
    expect.objectContaining({
      code: "FAILED_PRECONDITION",
      message:
        `--predictor is ${text}, and ${plain.path} has no predictor (tensors blk.N.fc1 and blk.N.fc2); ` +
        "give auto or off, or a model with predictors",
    }),
  );
});
