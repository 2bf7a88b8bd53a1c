/** IEEE 754 half precision and bfloat16, as numbers and back. */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The half nearest to a float32 (ties to even; overflow becomes infinity), as its 16 bits. */
export function toHalf(value: number): number {
  float[0] = value;
  const all = bits[0] ?? 0;
  const sign = (all >>> 16) & 0x8000;
  const magnitude = all & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00;
  // 65520 and above lie nearer to 2^16 than to 65504, the largest half.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  // Below 2^-14 halves are subnormal, multiples of 2^-24. Adding 0.5, whose float32 neighbours lie 2^-24 apart,
  // rounds to such a multiple.
  if (magnitude < 0x38800000) {
    float[0] = Math.abs(value) + 0.5;
    return sign | ((bits[0] ?? 0) - 0x3f000000);
  }
  // Drop 13 bits of the fraction, to nearest even, and rebias the exponent from 127 to 15.
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** The value of a half given as its 16 bits. Exact. */
export function fromHalf(half: number): number {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The value of every half, by its bits: conversion of whole tensors is a lookup. */
export const HALF_VALUES: Float32Array = Float32Array.from({ length: 65_536 }, (_, half) => fromHalf(half));
