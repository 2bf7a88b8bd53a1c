/** A layer's gate matrix and the norm before it, as float32. */
import { open } from "node:fs/promises";
import { convertRows } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import { readExactly } from "../model/read-exactly.js";
import { bytesOf, WEIGHT_TYPES } from "../model/tensor-types.js";

/** @throws ThermoclineError DATA_LOSS when the file has become another one */
export async function readGate(
  model: Model,
  layer: number,
): Promise<{ gate: Float32Array; norm: Float32Array }> {
  const file = await open(model.path);
  const read = async (part: string): Promise<Float32Array> => {
    const name = `blk.${layer}.${part}.weight`;
    const ref = model.tensors.find((tensor) => tensor.name === name);
    if (ref === undefined)
      throw new ThermoclineError("DATA_LOSS", `${model.path}: tensor ${name} is missing`);
    const { type, rows, cols, offset } = ref;
    const source = await readExactly(file, model.path, offset, bytesOf(WEIGHT_TYPES[type], rows * cols));
    return new Float32Array((await convertRows({ from: type, to: "f32", cols, source })).buffer);
  };
  try {
    return { gate: await read("ffn_gate"), norm: await read("ffn_norm") };
  } finally {
    await file.close();
  }
}
