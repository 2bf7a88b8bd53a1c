/** IEEE 754 half precision, for scales. */

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

/** The half nearest to a number below 65504 (ties to even), as its 16 bits. */
export function toHalf(value: number): number {
  float[0] = value;
  const all = bits[0] ?? 0;
  const sign = (all >>> 16) & 0x8000;
  const magnitude = all & 0x7fffffff;
  // Below 2^-14 halves are multiples of 2^-24, as float32 numbers between 0.5 and 1 are: adding 0.5 rounds to one.
  if (magnitude < 0x38800000) {
    float[0] = Math.abs(value) + 0.5;
    return sign | ((bits[0] ?? 0) - 0x3f000000);
  }
  // Drops 13 bits of the fraction, to nearest even, and rebiases the exponent from 127 to 15.
  return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
}

/** The half nearest to a number below 65504. */
export function nearestHalf(value: number): number {
  // The last place of a half of this exponent; subnormal ones share theirs.
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value) || 1)));
  const place = 2 ** (exponent - 10);
  const count = value / place;
  const below = Math.floor(count);
  const rest = count - below;
  const up = rest > 0.5 || (rest === 0.5 && below % 2 !== 0);
  return (below + (up ? 1 : 0)) * place;
}
