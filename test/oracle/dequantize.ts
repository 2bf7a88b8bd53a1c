/** Weights as float64, straight from GGUF's description of each type and independent of the product's own code. */
import type { WeightType } from "../../native/index.js";

/** How elements are stored: in blocks of `elements`, each of `bytes`. */
const BLOCKS: Readonly<Record<WeightType, { elements: number; bytes: number }>> = {
  f32: { elements: 1, bytes: 4 },
  f16: { elements: 1, bytes: 2 },
  bf16: { elements: 1, bytes: 2 },
  q8_0: { elements: 32, bytes: 2 + 32 },
  q4_0: { elements: 32, bytes: 2 + 32 / 2 },
  q4_k: { elements: 256, bytes: 2 + 2 + 12 + 256 / 2 },
  q5_k: { elements: 256, bytes: 2 + 2 + 12 + 256 / 8 + 256 / 2 },
  q6_k: { elements: 256, bytes: 256 / 2 + 256 / 4 + 16 + 2 },
};

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
  const { elements, bytes } = BLOCKS[type];
  return (count / elements) * bytes;
}

/** @param bytes exactly {@link encodedBytes} of them */
export function dequantize(type: WeightType, bytes: Uint8Array, count: number): Float64Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const block = BLOCKS[type];
  return Float64Array.from({ length: count }, (_, i) =>
    element(type, view, Math.floor(i / block.elements) * block.bytes, i % block.elements),
  );
}

/** Element `i` of the block that starts at byte `at`. */
function element(type: WeightType, view: DataView, at: number, i: number): number {
  const half = (offset: number) => halfToNumber(view.getUint16(at + offset, true));
  const byte = (offset: number) => view.getUint8(at + offset);
  switch (type) {
    case "f32":
      return view.getFloat32(at, true);
    case "f16":
      return half(0);
    case "bf16": {
      // The upper half of a float32.
      const whole = new DataView(new ArrayBuffer(4));
      whole.setUint16(0, view.getUint16(at, true));
      return whole.getFloat32(0);
    }
    case "q8_0":
      return half(0) * view.getInt8(at + 2 + i);
    case "q4_0": {
      const pair = byte(2 + (i % 16));
      return half(0) * ((i < 16 ? pair & 15 : pair >> 4) - 8);
    }
    case "q4_k": {
      const { scale, minimum } = scaleAndMinimum(byte, Math.floor(i / 32));
      return half(0) * scale * nibble(byte, 16, i) - half(2) * minimum;
    }
    case "q5_k": {
      const part = Math.floor(i / 32);
      const { scale, minimum } = scaleAndMinimum(byte, part);
      // Byte j of the 32 after the scales holds the fifth bits of elements j of all eight parts.
      const fifth = (byte(16 + (i % 32)) >> part) & 1;
      return half(0) * scale * (nibble(byte, 48, i) + 16 * fifth) - half(2) * minimum;
    }
    case "q6_k": {
      // Halves of 128 elements; in each, 64 bytes of low nibbles and 32 of upper bit pairs.
      const [part, place] = [Math.floor(i / 128), i % 128];
      const low = (byte(64 * part + (place % 64)) >> (place < 64 ? 0 : 4)) & 15;
      const high = (byte(128 + 32 * part + (place % 32)) >> (2 * Math.floor(place / 32))) & 3;
      return half(208) * view.getInt8(at + 192 + Math.floor(i / 16)) * (low + 16 * high - 32);
    }
  }
}

/** Of Q4_K and Q5_K: 32 bytes for 64 elements, the first 32 of them in the low nibbles. */
function nibble(byte: (offset: number) => number, from: number, i: number): number {
  const pair = byte(from + 32 * Math.floor(i / 64) + (i % 32));
  return i % 64 < 32 ? pair & 15 : pair >> 4;
}

/**
 * Of Q4_K and Q5_K: eight scales and eight minimums of six bits in the twelve bytes from byte 4 on. Bytes 0 to 3 and 4
 * to 7 hold the first four scales and minimums in their lower six bits, and in their upper two bits the upper two of
 * the last four, whose lower four bits share bytes 8 to 11.
 */
function scaleAndMinimum(byte: (offset: number) => number, part: number): { scale: number; minimum: number } {
  const packed = (index: number) => byte(4 + index);
  if (part < 4) return { scale: packed(part) & 63, minimum: packed(part + 4) & 63 };
  return {
    scale: (packed(part + 4) & 15) + 16 * (packed(part - 4) >> 6),
    minimum: (packed(part + 4) >> 4) + 16 * (packed(part) >> 6),
  };
}
