/** Synthetic models in the engines, in a stack of their own, and in llama.cpp. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { measureActivity } from "../../coordinator/measure-activity.js";
import { ADDED_VARIANCE } from "../../coordinator/model/synth/calibration.js";
import { normalDensity } from "../../coordinator/model/synth/frequencies.js";
import { basisRows, reservedChannels, type SynthOptions } from "../../coordinator/model/synth/options.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { argmax } from "../oracle/forward.js";
import { readOracleModel } from "../oracle/model.js";
import { LlamaCppRounding } from "../oracle/rounding.js";
import { Tolerance } from "../oracle/tolerance.js";
import { EngineStack } from "../support/engine-stack.js";
import { ENTRIES } from "../support/executor-processes.js";
import { LlamaCppSequence, openLlamaCpp } from "../support/llama-cpp.js";
import { placement } from "../support/placements.js";
import { Random } from "../support/random.js";
import { TINY_DENSE, TINY_SYNTHETIC, writeSynthetic } from "../support/synthetic-model.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const MEASURE = { entries: ENTRIES, signal: null };

/**
 * How far from the sparsity asked for a measurement may lie.
 *
 * Tokens are independent. Within a token, N neurons of firing probability p would by themselves vary by p(1-p)/N, but
 * they look at the same few channels: rows of random directions in D dimensions have correlations whose squares average
 * 1/D (the correlations themselves average zero), which adds at most p(1-p)/D. Beside this, attention may widen the gates
 * by half its share of the residual's variance, which moves no probability by more than the density's largest |t|φ(t).
 */
function sparsityTolerance(options: SynthOptions, sparsity: number, tokens: number): number {
  const { layers, ff, embd } = options.shape;
  const dimensions = [embd - reservedChannels(options)];
  if (options.predictor !== null) dimensions.push(basisRows(options.predictor));
  const independent = 1 / (layers * ff) + dimensions.reduce((sum, count) => sum + 1 / count, 0);
  const deviation = Math.sqrt((sparsity * (1 - sparsity) * independent) / tokens);
  return 4 * deviation + (normalDensity(1) * ADDED_VARIANCE.attention) / 2;
}

describe("measured on executors", () => {
  test.each<[string, Partial<SynthOptions>]>([
    ["90 % in Q4_0", {}],
    ["60 % in Q8_0, with llama.cpp's down-projection", { sparsity: 0.6, type: "q8_0", downByNeuron: false }],
    ["97 % in F16, all neurons alike", { sparsity: 0.97, type: "f16", skew: 0 }],
    ["90 % in F32, much by few neurons", { type: "f32", skew: 1.5, seed: 4n }],
    ["90 % in PowerInfer's format", { format: "pwri", predictor: { rank: 256, type: "q4_0" } }],
    ["80 % with predictors of another type", { sparsity: 0.8, predictor: { rank: 128, type: "f16" } }],
    ["90 % with predictors in Q8_0", { type: "q8_0", predictor: { rank: 128, type: "q8_0" } }],
  ])("a sparsity of %s is as asked for", async (name, given) => {
    const options = { ...TINY_SYNTHETIC, ...given };
    const model = await writeSynthetic(join(folder, `${name.replaceAll(/\W/g, "-")}.gguf`), given);
    const { tokens, layers } = await measureActivity(model, MEASURE);
    const measured = 1 - layers.reduce((sum, { firing }) => sum + firing, 0) / layers.length;
    const asked = options.sparsity ?? 0;
    expect(layers).toHaveLength(options.shape.layers);
    expect(Math.abs(measured - asked)).toBeLessThan(sparsityTolerance(options, asked, tokens));
    for (const { firing, predictor } of layers) {
      if (options.predictor === null) {
        expect(predictor).toBeNull();
        continue;
      }
      expect(predictor?.recall).toBeGreaterThan(0.95);
      expect((predictor?.predicted ?? 1) / firing).toBeLessThan(1.1);
    }
  });

  test("a SiLU model leaves no neuron inactive", async () => {
    const { layers } = await measureActivity(
      await writeSynthetic(join(folder, "dense.gguf"), TINY_DENSE),
      MEASURE,
    );
    expect(layers.map(({ firing }) => firing)).toEqual([1, 1, 1, 1]);
  });

  test("can be interrupted", async () => {
    const control = new AbortController();
    control.abort(new Error("enough"));
    const model = await writeSynthetic(join(folder, "interrupted.gguf"));
    await expect(measureActivity(model, { ...MEASURE, signal: control.signal })).rejects.toThrow("enough");
  });
});

test("its numbers stay finite and small over hundreds of tokens", async () => {
  const model = await writeSynthetic(join(folder, "long.gguf"));
  const stack = await EngineStack.start(model, placement(model.shape, "one CPU executor"), {
    slots: 1,
    contextLength: 400,
  });
  try {
    let token = 1;
    for (let position = 0; position < 400; position++) {
      const [logits] = await stack.run([{ token, position, slot: 0, wantsLogits: true }]);
      if (logits === undefined) throw new Error("there are no logits");
      // Their standard deviation is 2: one in 10^22 would lie beyond.
      expect(logits.every((logit) => Math.abs(logit) < 20)).toBe(true);
      token = argmax(logits);
    }
  } finally {
    await stack.close();
  }
});

test.each(["q4_0", "f16"] as const)("llama.cpp reads and computes a dense one in %s", async (type) => {
  const model = await writeSynthetic(join(folder, `llama-${type}.gguf`), { ...TINY_DENSE, type });
  const random = new Random(5);
  const tokens = Array.from({ length: 6 }, () => random.integer(model.shape.vocab));
  const llama = await openLlamaCpp();
  try {
    const sequence = await LlamaCppSequence.load(llama, model);
    const logits = await sequence.evaluate(tokens).finally(() => sequence.close());
    const tolerance = Tolerance.ofMachine(
      readOracleModel(model),
      [tokens],
      (draws) => new LlamaCppRounding(draws),
    );
    expect(tolerance.judge(logits).ratio, "error over limit").toBeLessThan(1);

    const theirs = await llama.loadModel({ modelPath: model.path, gpuLayers: 0 });
    const text = "eat the onion, Zoë";
    expect(theirs.tokenize(text)).toEqual(loadTokenizer(model.file).encode(text, false, false));
    await theirs.dispose();
  } finally {
    await llama.dispose();
  }
});
