/**
 * Reproducible random numbers: xoshiro256** seeded through SplitMix64, the same on every platform.
 *
 * Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", 2021, https://prng.di.unimi.it.
 */
import { randomBytes } from "node:crypto";

const BITS = 64;

function wrap(value: bigint): bigint {
  return BigInt.asUintN(BITS, value);
}

function rotateLeft(value: bigint, by: number): bigint {
  return wrap(value << BigInt(by)) | (value >> BigInt(BITS - by));
}

/** Spreads a seed of few bits over a whole state. */
export class SplitMix64 {
  constructor(private state: bigint) {}

  next(): bigint {
    this.state = wrap(this.state + 0x9e3779b97f4a7c15n);
    let z = this.state;
    z = wrap((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n);
    z = wrap((z ^ (z >> 27n)) * 0x94d049bb133111ebn);
    return z ^ (z >> 31n);
  }
}

// BigInt arithmetic takes about a microsecond a number here; one is drawn a token.
export class Xoshiro256 {
  constructor(private state: readonly [bigint, bigint, bigint, bigint]) {}

  /** @param seed any integer; its low 64 bits count */
  static seeded(seed: bigint): Xoshiro256 {
    const mix = new SplitMix64(wrap(seed));
    return new Xoshiro256([mix.next(), mix.next(), mix.next(), mix.next()]);
  }

  /** Uniform over 64 bits. */
  next(): bigint {
    const [a, b, c, d] = this.state;
    const result = wrap(rotateLeft(wrap(b * 5n), 7) * 9n);
    const e = c ^ a;
    const f = d ^ b;
    this.state = [a ^ f, b ^ e, e ^ wrap(b << 17n), rotateLeft(f, 45)];
    return result;
  }

  /** Uniform over the multiples of 2^-53 in [0, 1). */
  nextDouble(): number {
    return Number(this.next() >> 11n) * 2 ** -53;
  }
}

/** A seed nobody chose; 64 bits from the operating system. */
export function drawSeed(): bigint {
  return randomBytes(8).readBigUInt64LE();
}
