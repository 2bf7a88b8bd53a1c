/**
 * Random weights, millions a second and the same on every platform: xoshiro128** (Blackman and Vigna, "Scrambled
 * Linear Pseudorandom Number Generators", 2021), each tensor with a stream of its own.
 */
import { createHash } from "node:crypto";

/** Mean square of what {@link WeightStream.fill} draws: of 0 twice and ±1 to ±7 once each among 16. */
export const WEIGHT_VARIANCE = (2 * (1 + 4 + 9 + 16 + 25 + 36 + 49)) / 16;

/** Four bits as a weight. Zero takes the place of -8: a mean other than zero would make all rows alike. */
const WEIGHTS = Int8Array.from({ length: 16 }, (_, bits) => (bits === 0 ? 0 : bits - 8));

/** Mean square of what {@link WeightStream.fillBasis} draws. */
export const BASIS_VARIANCE = (1 + 4) / 2;
const BASIS = Int8Array.from([-2, -1, 1, 2]);

export class WeightStream {
  private a: number;
  private b: number;
  private c: number;
  private d: number;

  /** @param label names the stream: another one gives other numbers */
  constructor(seed: bigint, label: string) {
    const state = createHash("sha256").update(`${seed} ${label}`).digest();
    this.a = state.readInt32LE(0);
    this.b = state.readInt32LE(4);
    this.c = state.readInt32LE(8);
    // A state of zeros would stay one.
    this.d = state.readInt32LE(12) | 1;
  }

  /** 32 random bits, as a signed integer. */
  bits(): number {
    const { b } = this;
    const x = Math.imul(b, 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9);
    this.c ^= this.a;
    this.d ^= b;
    this.b ^= this.c;
    this.a ^= this.d;
    this.c ^= b << 9;
    this.d = (this.d << 11) | (this.d >>> 21);
    return result;
  }

  /** Uniform over the integers 0 to `limit` - 1, up to 2^-32 of each. */
  below(limit: number): number {
    return Math.floor(((this.bits() >>> 0) / 2 ** 32) * limit);
  }

  /** Weights from -7 to 7, with mean 0. @param out a multiple of 8 elements */
  fill(out: Int8Array): void {
    for (let i = 0; i < out.length; i += 8) {
      const bits = this.bits();
      for (let k = 0; k < 8; k++) out[i + k] = WEIGHTS[(bits >>> (4 * k)) & 15] ?? 0;
    }
  }

  /** Weights -2, -1, 1 and 2. @param out a multiple of 16 elements */
  fillBasis(out: Int8Array): void {
    for (let i = 0; i < out.length; i += 16) {
      const bits = this.bits();
      for (let k = 0; k < 16; k++) out[i + k] = BASIS[(bits >>> (2 * k)) & 3] ?? 0;
    }
  }

  /** The integers 0 to `count` - 1 in random order. */
  permutation(count: number): Uint32Array {
    const order = Uint32Array.from({ length: count }, (_, index) => index);
    for (let last = count - 1; last > 0; last--) {
      const other = this.below(last + 1);
      const moved = order[last] ?? 0;
      order[last] = order[other] ?? 0;
      order[other] = moved;
    }
    return order;
  }
}
