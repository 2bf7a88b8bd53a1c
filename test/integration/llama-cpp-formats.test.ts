/** Files of every weight type that we write, in llama.cpp: it computes with them what the oracle does. */
import { join } from "node:path";
import type { Llama } from "node-llama-cpp";
import { afterAll, beforeAll, expect, test } from "vitest";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { requantize } from "../../coordinator/model/requantize.js";
import { STORED_TYPES } from "../../coordinator/model/stored-type.js";
import { readOracleModel } from "../oracle/model.js";
import { LlamaCppRounding } from "../oracle/rounding.js";
import { Tolerance } from "../oracle/tolerance.js";
import { LlamaCppSequence, openLlamaCpp } from "../support/llama-cpp.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";
import { TINY_VOCAB } from "../support/tiny-vocabulary.js";

const folder = temporaryFolder();
const random = new Random(12);
const tokens = Array.from({ length: 6 }, () => random.integer(TINY_VOCAB));

let llama: Llama;
let source: Model;
beforeAll(async () => {
  llama = await openLlamaCpp();
  source = await writeTinyModel(join(folder, "source.gguf"), {
    activation: "silu",
    downTransposed: false,
    contextLength: 256,
    layers: 1,
    embd: 256,
    headDim: 64,
    ff: 256,
  });
});
afterAll(async () => {
  await llama.dispose();
});

test.each(STORED_TYPES)("%s", async (type) => {
  const path = join(folder, `${type}.gguf`);
  await requantize(source.path, path, {
    types: { matrices: type, predictors: type },
    replace: false,
    onProgress: () => undefined,
    signal: null,
  });
  const model = await loadModel(path, { activation: null });
  const sequence = await LlamaCppSequence.load(llama, model);
  const logits = await sequence.evaluate(tokens).finally(() => sequence.close());
  const toleranceOf = (given: Model) =>
    Tolerance.ofMachine(readOracleModel(given), [tokens], (draws) => new LlamaCppRounding(draws));
  expect(toleranceOf(model).judge(logits).ratio, "error over limit").toBeLessThan(1);
  // Weights as they were before lie beyond the limit: the comparison tells types apart.
  if (type !== "f32") expect(toleranceOf(source).judge(logits).ratio).toBeGreaterThan(1);
});
