/**
 * Activation profile: how often each neuron fired over a text.
 *
 * Kept beside the model as `MODEL.profile.gguf`, a GGUF file with one F32 tensor `blk.N.activation_count` of `ff`
 * numbers a layer and the metadata `thermocline.profile.tokens` (tokens the counts were taken over).
 */
import { existsSync } from "node:fs";
import { open } from "node:fs/promises";
import type { ModelShape } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { readGguf } from "../model/gguf.js";

export interface Profile {
  path: string;
  tokens: number;
  /** One array of `ff` counts a layer. */
  counts: Float32Array[];
}

/** Where a model's profile lies. */
export function profilePath(modelPath: string): string {
  return `${modelPath.replace(/\.gguf$/, "")}.profile.gguf`;
}

/** The profile beside a model, or null when there is none. One that does not fit the model is an error. */
export async function loadProfile(modelPath: string, shape: ModelShape): Promise<Profile | null> {
  const path = profilePath(modelPath);
  if (!existsSync(path)) return null;
  const file = await readGguf(path);
  const mismatch = (what: string) =>
    new ThermoclineError(
      "FAILED_PRECONDITION",
      `the profile ${path} does not belong to this model: ${what}; profile the model again or remove the file`,
    );
  const handle = await open(path, "r");
  try {
    const counts: Float32Array[] = [];
    for (let layer = 0; layer < shape.layers; layer++) {
      const name = `blk.${layer}.activation_count`;
      const tensor = file.tensors.get(name);
      if (tensor === undefined) throw mismatch(`it has no tensor ${name}`);
      const { elements } = tensor;
      if (tensor.type.name !== "F32" || elements !== shape.ff) {
        throw mismatch(
          `${name} holds ${elements} values of type ${tensor.type.name}, not ${shape.ff} of type F32`,
        );
      }
      const buffer = new ArrayBuffer(elements * 4);
      await handle.read(new Uint8Array(buffer), 0, elements * 4, tensor.offset);
      const layerCounts = new Float32Array(buffer);
      const odd = layerCounts.findIndex((count) => !(count >= 0 && count < Number.POSITIVE_INFINITY));
      if (odd >= 0) throw mismatch(`${name}[${odd}] is ${layerCounts[odd]}, which is no count`);
      counts.push(layerCounts);
    }
    return { path, tokens: file.metadata.integer("thermocline.profile.tokens"), counts };
  } finally {
    await handle.close();
  }
}
