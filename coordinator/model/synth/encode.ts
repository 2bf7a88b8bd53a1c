/**
 * Writes synthetic weights in any weight type. Weights are small whole numbers times a scale that 32 of them share,
 * which ggml's 32-element blocks hold exactly; other types go through the quantizer.
 */
import { convertRows, type WeightType } from "../../../native/index.js";
import { bytesOf, WEIGHT_TYPES } from "../tensor-types.js";
import { toHalf } from "./half.js";

/** Weights that share a scale. */
export const SCALED_TOGETHER = 32;

/** Rows of weights, one behind another: element i is `numbers[i] * scales[i / 32]`. */
export interface ScaledRows {
  /** From -8 to 7, in whole blocks of the type. */
  numbers: Int8Array;
  /** Halves (see `nearestHalf`), for the types that keep them as such. */
  scales: Float32Array;
}

/** @returns the rows' bytes, at the front of `out` where the type is one of the two that are written in place */
export async function encodeRows(type: WeightType, rows: ScaledRows, out: Uint8Array): Promise<Uint8Array> {
  if (type !== "q4_0" && type !== "q8_0") {
    const values = valuesOf(rows);
    const source = new Uint8Array(values.buffer);
    return type === "f32" ? source : convertRows({ from: "f32", to: type, cols: values.length, source });
  }
  const bytes = out.subarray(0, bytesOf(WEIGHT_TYPES[type], rows.numbers.length));
  if (type === "q4_0") encodeQ4(rows, bytes);
  else encodeQ8(rows, bytes);
  return bytes;
}

function valuesOf({ numbers, scales }: ScaledRows): Float32Array {
  const values = new Float32Array(numbers.length);
  for (let block = 0; block < scales.length; block++) {
    const scale = scales[block] ?? 0;
    const first = block * SCALED_TOGETHER;
    for (let i = first; i < first + SCALED_TOGETHER; i++) values[i] = (numbers[i] ?? 0) * scale;
  }
  return values;
}

function encodeQ4({ numbers, scales }: ScaledRows, bytes: Uint8Array): void {
  const half = SCALED_TOGETHER / 2;
  let to = 0;
  for (let block = 0; block < scales.length; block++) {
    const from = block * SCALED_TOGETHER;
    const scale = toHalf(scales[block] ?? 0);
    bytes[to++] = scale;
    bytes[to++] = scale >>> 8;
    for (let i = from; i < from + half; i++) {
      bytes[to++] = ((numbers[i] ?? 0) + 8) | (((numbers[i + half] ?? 0) + 8) << 4);
    }
  }
}

function encodeQ8({ numbers, scales }: ScaledRows, bytes: Uint8Array): void {
  let to = 0;
  for (let block = 0; block < scales.length; block++) {
    const from = block * SCALED_TOGETHER;
    const scale = toHalf(scales[block] ?? 0);
    bytes[to++] = scale;
    bytes[to++] = scale >>> 8;
    for (let i = from; i < from + SCALED_TOGETHER; i++) bytes[to++] = numbers[i] ?? 0;
  }
}
