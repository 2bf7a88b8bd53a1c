/** Turns a GGUF or PWRI file into the model the coordinator plans with. */
import { basename, resolve } from "node:path";
import { type ActivationOverrides, decideActivation } from "./activation.js";
import { architectureOf } from "./architecture.js";
import { type GgufFile, readGguf } from "./gguf.js";
import type { Model } from "./model.js";
import { collectTensors } from "./model-tensors.js";
import { readShape } from "./shape.js";

/**
 * Reads a model's header and checks that the engines can compute it.
 *
 * @throws ThermoclineError as {@link readGguf} does, and for whatever in the file contradicts itself (DATA_LOSS) or
 *   has no engine (UNIMPLEMENTED), and for overrides that do not suit it (INVALID_ARGUMENT)
 */
export async function loadModel(path: string, overrides: ActivationOverrides): Promise<Model> {
  return modelOf(await readGguf(resolve(path)), overrides);
}

/** The same for a header that has been read. */
export function modelOf(file: GgufFile, overrides: ActivationOverrides): Model {
  const architecture = architectureOf(file);
  const shape = readShape(file, architecture);
  const { activation, reluThreshold } = decideActivation(file, overrides);
  const { refs, vocab, hasPredictor, downTransposed, parameters } = collectTensors(file, architecture, shape);
  return {
    path: file.path,
    fileBytes: file.fileBytes,
    name: file.metadata.string("general.name", basename(file.path).replace(/\.[^.]*$/, "")),
    architecture: architecture.name,
    shape: { ...shape, vocab, activation, reluThreshold },
    trainedContextLength: file.metadata.integer(`${architecture.name}.context_length`),
    hasPredictor,
    downTransposed,
    parameters,
    tensors: refs,
    file,
  };
}
