/** Numbers as a model file stores them, and back. */
import { convertRows, type WeightType } from "../../native/index.js";

/** @param values a whole number of the type's blocks */
export function quantize(type: WeightType, values: Float32Array): Promise<Uint8Array<ArrayBuffer>> {
  const source = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  return convertRows({ from: "f32", to: type, cols: values.length, source });
}

/** @param count elements, a whole number of the type's blocks */
export async function dequantize(type: WeightType, source: Uint8Array, count: number): Promise<Float32Array> {
  return new Float32Array((await convertRows({ from: type, to: "f32", cols: count, source })).buffer);
}
