/** Weights as float64, straight from GGUF's description of each type and independent of the product's own code. */
import type { WeightType } from "../../native/index.js";

/** Elements in a block of Q8_0 and Q4_0. */
const BLOCK = 32;

/** The value of an IEEE half. */
export function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Infinity : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** Bytes that `count` elements take. */
export function encodedBytes(type: WeightType, count: number): number {
  switch (type) {
    case "f32":
      return 4 * count;
    case "f16":
      return 2 * count;
    case "q8_0":
      return (count / BLOCK) * (2 + BLOCK);
    case "q4_0":
      return (count / BLOCK) * (2 + BLOCK / 2);
  }
}

/** @param bytes exactly {@link encodedBytes} of them */
export function dequantize(type: WeightType, bytes: Uint8Array, count: number): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  switch (type) {
    case "f32":
      return Float64Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
    case "f16":
      return Float64Array.from({ length: count }, (_, i) => halfToNumber(view.getUint16(2 * i, true)));
    case "q8_0":
      return Float64Array.from({ length: count }, (_, i) => {
        const block = Math.floor(i / BLOCK) * (2 + BLOCK);
        return halfToNumber(view.getUint16(block, true)) * view.getInt8(block + 2 + (i % BLOCK));
      });
    case "q4_0":
      return Float64Array.from({ length: count }, (_, i) => {
        const block = Math.floor(i / BLOCK) * (2 + BLOCK / 2);
        const place = i % BLOCK;
        const pair = view.getUint8(block + 2 + (place % (BLOCK / 2)));
        const nibble = place < BLOCK / 2 ? pair & 15 : pair >> 4;
        return halfToNumber(view.getUint16(block, true)) * (nibble - 8);
      });
  }
}
