import { join } from "node:path";
import { expect, test } from "vitest";
import { choosePeerModel } from "../../bench/peer-model.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { TINY, type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";
import { TINY_VOCAB } from "../support/tiny-vocabulary.js";

const folder = temporaryFolder();
const SILU: Partial<TinyModelOptions> = { activation: "silu", downTransposed: false, type: "q8_0" };
const RELU: Partial<TinyModelOptions> = { type: "q8_0", predictorRank: 32 };

let files = 0;
async function file(options: Partial<TinyModelOptions>): Promise<string> {
  const path = join(folder, `${files++}.gguf`);
  await writeTinyModel(path, options);
  return path;
}

/** Bytes of a layer's matrices in Q8_0, and of its norms. */
const { embd, heads, kvHeads, headDim, ff, layers } = TINY;
const MATRICES = (embd * headDim * (2 * heads + 2 * kvHeads) + 3 * embd * ff) * (34 / 32);
const HEAD = TINY_VOCAB * embd * (34 / 32);
const DENSE = layers * (MATRICES + 2 * embd * 4) + embd * 4 + HEAD;

test("takes our own file where llama.cpp computes the same, and knows what it reads for a token", async () => {
  const path = await file(SILU);
  expect(await choosePeerModel(path, null)).toEqual({ path, bytesPerToken: DENSE });
});

test("counts the head and not the embedding where they are two", async () => {
  const path = await file({ ...SILU, tied: false });
  expect((await choosePeerModel(path, null)).bytesPerToken).toBe(DENSE);
});

test("takes a dense file of the same shape and type for a sparse one with predictors", async () => {
  const peer = await file(SILU);
  expect((await choosePeerModel(await file(RELU), peer)).path).toBe(peer);
});

test.each<[string, Partial<TinyModelOptions>, string]>([
  ["a PWRI file", RELU, "it is a PWRI file"],
  ["another activation", { ...SILU, activation: "relu" }, "its activation is relu"],
  ["transposed down-projections", { ...SILU, downTransposed: true }, "its down-projections are transposed"],
])("does not let llama.cpp have %s", async (_, options, words) => {
  await expect(choosePeerModel(await file(options), null)).rejects.toThrow(words);
});

test.each<[string, Partial<TinyModelOptions>, string]>([
  ["shape", { ff: 128 }, "ff is 128 and not 96"],
  ["layers", { layers: 2 }, "layers is 2 and not 3"],
  ["type", { type: "q4_0" }, "token_embd.weight is q4_0 and not q8_0"],
])("refuses a peer of another %s", async (_, options, words) => {
  const peer = await file({ ...SILU, ...options });
  await expect(choosePeerModel(await file(RELU), peer)).rejects.toThrow(words);
});
