/** The bundled model, and copies of it in other weight types. */
import { open } from "node:fs/promises";
import { join } from "node:path";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { dequantize, quantize } from "../../coordinator/model/convert/quantize.js";
import { writeGguf } from "../../coordinator/model/gguf-writer.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import type { WeightType } from "../../native/index.js";

/** Writes the bundled model with matrices of `type` into `folder`; vectors stay as they are. */
export async function bundledModelAs(type: WeightType, folder: string): Promise<Model> {
  const { file, tensors } = await loadModel(bundledModelPath(), { activation: null });
  const source = await open(file.path);
  try {
    const retyped = await Promise.all(
      tensors.map(async (tensor) => {
        const { name, rows, cols } = tensor;
        const stored = WEIGHT_TYPES[tensor.type];
        const data = Buffer.alloc((rows * cols * stored.blockBytes) / stored.blockSize);
        await source.read(data, 0, data.length, tensor.offset);
        const target = rows === 1 ? tensor.type : type;
        return {
          name,
          type: WEIGHT_TYPES[target],
          dims: rows === 1 ? [cols] : [cols, rows],
          data: quantize(target, dequantize(tensor.type, data, rows * cols)),
        };
      }),
    );
    const path = join(folder, `bundled.${type}.gguf`);
    const { format, metadata } = file;
    await writeGguf(path, { format, version: 3, metadata, tensors: retyped });
    return await loadModel(path, { activation: null });
  } finally {
    await source.close();
  }
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
