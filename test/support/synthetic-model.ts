/** Tiny synthetic models for tests. */
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import type { SynthOptions } from "../../coordinator/model/synth/options.js";
import { PRESETS } from "../../coordinator/model/synth/shapes.js";
import { synthesize } from "../../coordinator/model/synth/synthesize.js";

/** What `thermocline synth` makes when nothing is asked for. */
export const TINY_SYNTHETIC: SynthOptions = {
  preset: "tiny",
  shape: PRESETS.tiny.shape,
  format: "gguf",
  type: "q4_0",
  activation: "relu",
  downByNeuron: true,
  sparsity: 0.9,
  skew: 0.8,
  predictor: null,
  seed: 1n,
};

/** The same, dense and as llama.cpp reads it. */
export const TINY_DENSE: SynthOptions = {
  ...TINY_SYNTHETIC,
  activation: "silu",
  sparsity: null,
  downByNeuron: false,
};

/** Writes {@link TINY_SYNTHETIC} with what is given, and reads it as the product does. */
export async function writeSynthetic(path: string, given: Partial<SynthOptions> = {}): Promise<Model> {
  await synthesize(
    path,
    { ...TINY_SYNTHETIC, ...given },
    { replace: true, onProgress: () => undefined, signal: null },
  );
  return loadModel(path, { activation: null });
}
