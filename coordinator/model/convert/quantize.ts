/**
 * ggml's weight formats, written and read. Rows lie one behind another, so a matrix is quantized as one run of
 * elements whose rows are whole blocks.
 *
 * Q8_0: blocks of 32; an f16 scale d, then 32 signed bytes q; element = d * q, with d = max|x| / 127.
 * Q4_0: blocks of 32; an f16 scale d, then 16 bytes whose low halves are elements 0..15 and high halves 16..31;
 *   element = d * (q - 8), with d = m / -8 where m is the element of largest magnitude, sign included.
 * Quotients are taken with the unrounded float32 scale, as ggml does; the stored scale is rounded to f16.
 */
import type { WeightType } from "../../../native/index.js";
import { bytesOf, WEIGHT_TYPES } from "../tensor-types.js";
import { HALF_VALUES, toHalf } from "./half.js";

const BLOCK = 32;

/** @param values a whole number of the type's blocks */
export function quantize(type: WeightType, values: Float32Array): Uint8Array {
  const bytes = new Uint8Array(bytesOf(WEIGHT_TYPES[type], values.length));
  switch (type) {
    case "f32":
      bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
      break;
    case "f16": {
      const halves = new Uint16Array(bytes.buffer);
      for (let i = 0; i < values.length; i++) halves[i] = toHalf(values[i] ?? 0);
      break;
    }
    case "q8_0":
      for (let block = 0; block * BLOCK < values.length; block++)
        quantizeQ8(values, block * BLOCK, bytes, block * 34);
      break;
    case "q4_0":
      for (let block = 0; block * BLOCK < values.length; block++)
        quantizeQ4(values, block * BLOCK, bytes, block * 18);
      break;
  }
  return bytes;
}

function quantizeQ8(values: Float32Array, from: number, bytes: Uint8Array, to: number): void {
  let largest = 0;
  for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[from + i] ?? 0));
  const scale = Math.fround(largest / 127);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  putHalf(bytes, to, scale);
  for (let i = 0; i < BLOCK; i++) {
    const quotient = Math.fround((values[from + i] ?? 0) * inverse);
    // Halves away from zero; a negative byte is stored modulo 256.
    bytes[to + 2 + i] = Math.sign(quotient) * Math.floor(Math.abs(quotient) + 0.5);
  }
}

function quantizeQ4(values: Float32Array, from: number, bytes: Uint8Array, to: number): void {
  let extreme = 0;
  for (let i = 0; i < BLOCK; i++) {
    const value = values[from + i] ?? 0;
    if (Math.abs(value) > Math.abs(extreme)) extreme = value;
  }
  const scale = Math.fround(extreme / -8);
  const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
  putHalf(bytes, to, scale);
  const quant = (i: number) =>
    Math.min(15, Math.trunc(Math.fround(Math.fround((values[from + i] ?? 0) * inverse) + 8.5)));
  for (let i = 0; i < BLOCK / 2; i++) bytes[to + 2 + i] = quant(i) | (quant(i + BLOCK / 2) << 4);
}

function putHalf(bytes: Uint8Array, at: number, value: number): void {
  const half = toHalf(value);
  bytes[at] = half & 0xff;
  bytes[at + 1] = half >>> 8;
}

/** @param count elements, a whole number of the type's blocks */
export function dequantize(type: WeightType, bytes: Uint8Array, count: number): Float32Array {
  const values = new Float32Array(count);
  const half = (at: number) => HALF_VALUES[(bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8)] ?? 0;
  switch (type) {
    case "f32":
      new Uint8Array(values.buffer).set(bytes.subarray(0, count * 4));
      break;
    case "f16":
      for (let i = 0; i < count; i++) values[i] = half(2 * i);
      break;
    case "q8_0":
      for (let i = 0; i < count; i++) {
        const block = Math.floor(i / BLOCK) * 34;
        values[i] = half(block) * (((bytes[block + 2 + (i % BLOCK)] ?? 0) << 24) >> 24);
      }
      break;
    case "q4_0":
      for (let i = 0; i < count; i++) {
        const block = Math.floor(i / BLOCK) * 18;
        const byte = bytes[block + 2 + (i % 16)] ?? 0;
        values[i] = half(block) * ((i % BLOCK < 16 ? byte & 0xf : byte >>> 4) - 8);
      }
      break;
  }
  return values;
}
