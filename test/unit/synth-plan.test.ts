/** What synthetic models consist of, without writing their weights. */
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { renderReport } from "../../coordinator/cli/inspect.js";
import { inspectFile } from "../../coordinator/cli/inspect-report.js";
import { readGguf } from "../../coordinator/model/gguf.js";
import { layOutGguf } from "../../coordinator/model/gguf-writer.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { SynthOptions } from "../../coordinator/model/synth/options.js";
import { PRESET_NAMES, PRESETS, type PresetName, weightsOf } from "../../coordinator/model/synth/shapes.js";
import { planModel } from "../../coordinator/model/synth/synthesize.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { TINY_DENSE, TINY_SYNTHETIC } from "../support/synthetic-model.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

/** A file with the model's header and a hole where its weights belong. */
async function hollow(name: string, options: SynthOptions): Promise<string> {
  const path = join(folder, name);
  const { header, fileBytes } = layOutGguf(planModel(options).header);
  await writeFile(path, header);
  await truncate(path, fileBytes);
  return path;
}

function optionsOf(preset: PresetName): SynthOptions {
  return { ...TINY_SYNTHETIC, preset, shape: PRESETS[preset].shape };
}

/** As the models' authors publish them. */
const PARAMETERS: Partial<Record<PresetName, number>> = {
  "tinyllama-1.1b": 1_100_048_384,
  "llama-7b": 6_738_415_616,
  "llama-13b": 13_015_864_320,
  "llama-33b": 32_528_943_616,
  "llama-70b": 68_976_648_192,
};

describe.each(PRESET_NAMES)("%s", (preset) => {
  test("has the shape of the model it is named after", async () => {
    const model = await loadModel(await hollow(`${preset}.gguf`, optionsOf(preset)), { activation: null });
    const { contextLength, ...shape } = PRESETS[preset].shape;
    expect(model.shape).toMatchObject({ ...shape, activation: "relu" });
    expect(model.trainedContextLength).toBe(contextLength);
    expect(model.downTransposed).toBe(true);
    expect(model.hasPredictor).toBe(false);
    if (PARAMETERS[preset] !== undefined) expect(model.parameters).toBe(PARAMETERS[preset]);
    expect(loadTokenizer(model.file).vocabularySize).toBe(shape.vocab);
    // Norms are vectors: two a layer and one at the end.
    expect(model.parameters - weightsOf(PRESETS[preset].shape)).toBe((2 * shape.layers + 1) * shape.embd);
  });

  test("says that it is synthetic and what was set", async () => {
    const { metadata } = await readGguf(await hollow(`${preset}-said.gguf`, optionsOf(preset)));
    expect(metadata.string("general.name")).toBe(`synthetic ${preset}, relu, 90 % sparse`);
    expect(metadata.string("general.description")).toMatch(/^Random weights .* 90 % of its neurons inactive/);
    expect(metadata.boolean("thermocline.synthetic")).toBe(true);
    expect(metadata.number("thermocline.synthetic.sparsity")).toBeCloseTo(0.9, 6);
    expect(metadata.number("thermocline.synthetic.skew")).toBeCloseTo(0.8, 6);
    expect(metadata.integer("thermocline.synthetic.seed")).toBe(1);
    expect(metadata.integer("thermocline.synthetic.predictor_rank")).toBe(0);
  });
});

test("falcon-40b says that its layers are llama's", async () => {
  const { metadata } = await readGguf(await hollow("falcon.gguf", optionsOf("falcon-40b")));
  expect(metadata.string("general.architecture")).toBe("llama");
  expect(metadata.string("general.description")).toContain(
    "Falcon's sizes in layers of the llama architecture",
  );
});

test("inspect shows that a file is synthetic, and that others are not", async () => {
  const report = inspectFile(await readGguf(await hollow("inspected.gguf", TINY_SYNTHETIC)));
  expect(report.synthetic).toBe(true);
  expect(renderReport(report)).toMatch(/\n {2}synthetic +yes: its weights are random/);
  const other = { ...report, synthetic: false };
  expect(renderReport(other)).not.toMatch(/\n {2}synthetic /);
});

test("a dense model has llama.cpp's down-projection and nothing said of sparsity", async () => {
  const model = await loadModel(await hollow("dense.gguf", TINY_DENSE), { activation: null });
  expect(model.shape.activation).toBe("silu");
  expect(model.downTransposed).toBe(false);
  expect(model.name).toBe("synthetic tiny, silu, dense");
  expect(model.file.metadata.has("thermocline.synthetic.sparsity")).toBe(false);
});

test.each(["gguf", "pwri"] as const)("predictors lie in %s files", async (format) => {
  const predictor = { rank: 128, type: "f16" } as const;
  const path = await hollow(`predictor.${format}`, { ...TINY_SYNTHETIC, format, predictor });
  const model = await loadModel(path, { activation: null });
  expect(model.file.format).toBe(format);
  expect(model.hasPredictor).toBe(true);
  expect(model.shape).toMatchObject({ activation: "relu", predictorThreshold: 0 });
  const { embd, ff } = TINY_SYNTHETIC.shape;
  expect(model.tensors.filter(({ name }) => name.startsWith("blk.3.fc"))).toMatchObject([
    { type: "f16", rows: 128, cols: embd },
    { type: "f16", rows: ff, cols: 128 },
  ]);
});

describe("refuses", () => {
  const shape = TINY_SYNTHETIC.shape;
  test.each<[string, Partial<SynthOptions>, RegExp]>([
    [
      "a width of no whole blocks",
      { shape: { ...shape, embd: 200 } },
      /^--embd is 200; give a multiple of 32$/,
    ],
    ["a width that the bias takes up", { shape: { ...shape, embd: 32 } }, /^--embd is 32, and 32 channels/],
    [
      "neurons of no whole blocks",
      { shape: { ...shape, ff: 1000 } },
      /^--ff is 1000; give a multiple of 32$/,
    ],
    [
      "heads that do not divide the width",
      { shape: { ...shape, heads: 6 } },
      /^--embd is 512, no even multiple/,
    ],
    [
      "key/value heads of unequal shares",
      { shape: { ...shape, kvHeads: 3 } },
      /^--kv-heads is 3, and 8 heads/,
    ],
    ["a vocabulary without bytes", { shape: { ...shape, vocab: 200 } }, /^--vocab is 200, .* alone are 286/],
    ["a ReLU model of no sparsity", { sparsity: null }, /give --sparsity$/],
    ["a sparse SiLU model", { activation: "silu" }, /^--sparsity means nothing to SiLU/],
    ["a SiLU model in PowerInfer's format", { ...TINY_DENSE, format: "pwri" }, /^--format pwri implies ReLU/],
    [
      "predictors for SiLU",
      { ...TINY_DENSE, predictor: { rank: 64, type: "f32" } },
      /^--predictor-rank means nothing to SiLU/,
    ],
    [
      "a predictor with no room beside its bias",
      { predictor: { rank: 32, type: "f32" } },
      /^--predictor-rank is 32; give a multiple of 32 from 64 on, or 0$/,
    ],
    [
      "a predictor of no whole blocks",
      { predictor: { rank: 100, type: "q4_0" } },
      /^--predictor-rank is 100/,
    ],
  ])("%s", (_what, given, message) => {
    expect(() => planModel({ ...TINY_SYNTHETIC, ...given })).toThrow(message);
  });
});
