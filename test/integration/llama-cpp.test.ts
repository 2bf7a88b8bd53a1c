/** SiLU models in llama.cpp: an oracle that shares no code with ours. */
import { join } from "node:path";
import type { Llama } from "node-llama-cpp";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import type { WeightType } from "../../native/index.js";
import { argmax } from "../oracle/forward.js";
import { type OracleModel, readOracleModel } from "../oracle/model.js";
import { EngineRounding, LlamaCppRounding } from "../oracle/rounding.js";
import { type Rows, Tolerance } from "../oracle/tolerance.js";
import { EngineStack } from "../support/engine-stack.js";
import { LlamaCppSequence, openLlamaCpp } from "../support/llama-cpp.js";
import { placement } from "../support/placements.js";
import { Random } from "../support/random.js";
import { inChunks, runSteps } from "../support/steps.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { TINY, type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";
import { TINY_VOCAB } from "../support/tiny-vocabulary.js";

const folder = temporaryFolder();
const GENERATED = 32;
const random = new Random(11);
const prompt = Array.from({ length: 8 }, () => random.integer(TINY_VOCAB));

/** llama.cpp rounds contexts up to 256 positions. */
const LLAMA_LIKE: Partial<TinyModelOptions> = {
  activation: "silu",
  downTransposed: false,
  contextLength: 256,
};

let llama: Llama;
beforeAll(async () => {
  llama = await openLlamaCpp();
});
afterAll(async () => {
  await llama.dispose();
});

const models: [name: string, type: WeightType, options: Partial<TinyModelOptions>][] = [
  ["f32", "f32", {}],
  ["f32 with rotary factors and wide heads", "f32", { ropeFactors: true, headDim: 32 }],
  ["f16", "f16", {}],
  ["f16 with a head of its own and one key/value head a head", "f16", { tied: false, kvHeads: 4 }],
  ["q8_0", "q8_0", {}],
  ["q4_0", "q4_0", {}],
  ["OLMo f32", "f32", { architecture: "olmo" }],
  ["Orion f32", "f32", { architecture: "orion", tied: false }],
  ["Orion q8_0", "q8_0", { architecture: "orion", tied: false }],
  ["StableLM f32", "f32", { architecture: "stablelm", tied: false, ropeDims: 4 }],
];

describe.each(models)("a SiLU model, %s", (name, type, options) => {
  let model: Model;
  let oracle: OracleModel;
  /** The prompt and what llama.cpp makes of it. */
  let tokens: number[];
  let theirs: Float32Array[];
  let ours: Float32Array[];
  beforeAll(async () => {
    const path = join(folder, `${name.replaceAll(/[ /]/g, "-")}.gguf`);
    model = await writeTinyModel(path, { ...LLAMA_LIKE, ...options, type });
    oracle = readOracleModel(model);
    const sequence = await LlamaCppSequence.load(llama, model);
    try {
      tokens = [...prompt, ...(await sequence.greedy(prompt, GENERATED))];
      await sequence.clear();
      theirs = await sequence.evaluate(tokens);
    } finally {
      await sequence.close();
    }
    const stack = await EngineStack.start(model, placement(TINY, "one CPU executor"));
    try {
      ours = await runSteps(stack, inChunks([tokens], 40));
    } finally {
      await stack.close();
    }
  });

  test("llama.cpp's logits are the oracle's", () => {
    const tolerance = Tolerance.ofMachine(oracle, [tokens], (draws) => new LlamaCppRounding(draws));
    expect(tolerance.judge(theirs).ratio, "error over limit").toBeLessThan(1);
  });

  test("the engine's logits and greedy tokens are llama.cpp's", () => {
    const tolerance = Tolerance.betweenMachines(
      oracle,
      [tokens],
      (draws) => new EngineRounding(draws),
      (draws) => new LlamaCppRounding(draws),
    );
    const differences = ours.map((row, r) => row.map((logit, i) => logit - (theirs[r]?.[i] ?? Number.NaN)));
    expect(tolerance.judge(differences).ratio, "error over limit").toBeLessThan(1);

    // A row's most likely token is the same token unless the second is so close that rounding may swap them.
    const decided = [...tokens.keys()].filter((r) => gap(theirs, r) > tolerance.closeableGap(r));
    expect(decided.length).toBeGreaterThan(tokens.length / 2);
    expect(decided.map((r) => argmax(ours[r] ?? []))).toEqual(decided.map((r) => argmax(theirs[r] ?? [])));
  });
});

/** How far a row's largest value lies above its second largest. */
function gap(rows: Rows, index: number): number {
  const [first = 0, second = 0] = Float64Array.from(rows[index] ?? [])
    .sort()
    .reverse();
  return first - second;
}
