/** The bundled model, and copies of it in other weight types. */
import { join } from "node:path";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { requantize } from "../../coordinator/model/requantize.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import type { WeightType } from "../../native/index.js";

/** Writes the bundled model with matrices of `type` into `folder`; vectors stay as they are. */
export async function bundledModelAs(type: WeightType, folder: string): Promise<Model> {
  const path = join(folder, `bundled.${type}.gguf`);
  await requantize(bundledModelPath(), path, {
    types: { matrices: type, predictors: type },
    replace: true,
    onProgress: () => undefined,
    signal: null,
  });
  return loadModel(path, { activation: null });
}

/** The starts of three stories, in the model's tokens. */
export function storyPrompts(model: Model): number[][] {
  const tokenizer = loadTokenizer(model.file);
  return [
    "Once upon a time, there was a little girl named Lily. She",
    "Tom had a red ball",
    "One day a big dog went to the park with his friend. They wanted to play, but the",
  ].map((text) => tokenizer.encode(text, true, false));
}
