/** A placement under which both sides have work in every layer, whatever a planner would make of the machine. */

import type { Model } from "../../coordinator/model/model.js";
import { type PredictorUse, withPredictor } from "../../coordinator/model/predictor.js";
import { writePlacement } from "../../coordinator/placement/placement-file.js";

/** Options for `serve` and the like: attention, head and the first half of each layer's neurons on the GPU executor. */
export function splitPlacement(
  path: string,
  model: Model,
  predictor: PredictorUse = "auto",
  device = "host",
): string[] {
  const { layers, ff } = model.shape;
  const neuronOwner = Uint8Array.from({ length: ff }, (_, neuron) => (neuron < ff / 2 ? 0 : 1));
  writePlacement(path, withPredictor(model, predictor), {
    executors: ["gpu", "cpu"],
    layers: Array.from({ length: layers }, () => ({ attention: 0, neuronOwner })),
    head: 0,
  });
  return ["--gpu", device, "--vram-budget", "64MiB", "--placement", path];
}
