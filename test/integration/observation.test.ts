/** What the bundled model's executors record of observed steps, against the oracle. */
import { expect, test } from "vitest";
import { readOracleModel } from "../oracle/model.js";
import { bundledModelAs, storyPrompts } from "../support/bundled-model.js";
import { EngineStack } from "../support/engine-stack.js";
import { placement } from "../support/placements.js";
import { inChunks } from "../support/steps.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

test("counts are those of the rows that fired, and are taken once", async () => {
  const model = await bundledModelAs("f16", folder);
  const [tokens = []] = storyPrompts(model);
  const { layers, embd, ff } = model.shape;
  const schedule = placement({ layers, ff }, "half hot");
  const stack = await EngineStack.start(model, schedule, { observation: "activations" });
  try {
    const summed = Array.from({ length: layers }, () => new Uint32Array(ff));
    for (const rows of inChunks([tokens], 7)) {
      await stack.run(rows, true);
      for (let layer = 0; layer < layers; layer++) {
        const { inputs, fired } = stack.activations(layer);
        expect(inputs.length).toBe(rows.length * embd);
        expect(fired.length).toBe(rows.length * Math.ceil(ff / 64) * 8);
        for (let row = 0; row < rows.length; row++) {
          const bits = fired.subarray(row * Math.ceil(ff / 64) * 8);
          for (let neuron = 0; neuron < ff; neuron++) {
            const bit = ((bits[neuron >> 3] ?? 0) >> (neuron & 7)) & 1;
            const sums = summed[layer] ?? new Uint32Array();
            sums[neuron] = (sums[neuron] ?? 0) + bit;
          }
        }
      }
    }
    // An unobserved step between, and what it fires stays out.
    await stack.run([{ token: tokens[0] ?? 0, position: 0, slot: 1, wantsLogits: false }]);
    expect(stack.activations(0).inputs.length).toBe(0);
    const { counts, strengths } = stack.takeCounts();
    for (let layer = 0; layer < layers; layer++) {
      expect(counts.subarray(layer * ff, (layer + 1) * ff)).toEqual(summed[layer]);
    }
    for (const [i, count] of counts.entries()) if (count === 0) expect(strengths[i]).toBe(0);
    expect(stack.takeCounts().counts.every((count) => count === 0)).toBe(true);
  } finally {
    await stack.close();
  }
});

test("what a predictor would see is the residual before the norm, whose gates' signs are the neurons that fire", async () => {
  const model = await bundledModelAs("f32", folder);
  const [tokens = []] = storyPrompts(model);
  const { layers, embd, ff, normEpsilon } = model.shape;
  const oracle = readOracleModel(model);
  const schedule = placement({ layers, ff }, "one CPU executor");
  const stack = await EngineStack.start(model, schedule, { observation: "activations" });
  try {
    await stack.run(inChunks([tokens], tokens.length)[0] ?? [], true);
    let near = 0;
    for (let layer = 0; layer < layers; layer++) {
      const { inputs, fired } = stack.activations(layer);
      const weights = oracle.layers[layer];
      if (weights === undefined) throw new Error(`the oracle has no layer ${layer}`);
      for (let row = 0; row < tokens.length; row++) {
        const x = inputs.subarray(row * embd, (row + 1) * embd);
        const scale = 1 / Math.sqrt(x.reduce((sum, v) => sum + v * v, 0) / embd + normEpsilon);
        for (let neuron = 0; neuron < ff; neuron++) {
          let gate = 0;
          let spread = 0;
          for (let i = 0; i < embd; i++) {
            const product =
              (x[i] ?? 0) *
              scale *
              (weights.ffnNorm.weight?.data[i] ?? 0) *
              (weights.gate.data[neuron * embd + i] ?? 0);
            gate += product;
            spread += Math.abs(product);
          }
          // No order of f32 additions strays further (Higham 2002, section 4.2).
          if (Math.abs(gate) <= spread * embd * 2 ** -24) {
            near++;
            continue;
          }
          const byte = fired[row * Math.ceil(ff / 64) * 8 + (neuron >> 3)] ?? 0;
          expect(((byte >> (neuron & 7)) & 1) === 1, `row ${row}, neuron ${neuron}`).toBe(gate > 0);
        }
      }
    }
    expect(near).toBeLessThan((layers * ff * tokens.length) / 100);
  } finally {
    await stack.close();
  }
});
