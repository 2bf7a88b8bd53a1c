/** The generators against published outputs of their reference implementations. */
import { describe, expect, it } from "vitest";
import { drawSeed, SplitMix64, Xoshiro256 } from "../../coordinator/schedule/random.js";

function take(count: number, next: () => bigint): bigint[] {
  return Array.from({ length: count }, next);
}

describe("SplitMix64", () => {
  it("gives the reference outputs", () => {
    const random = new SplitMix64(1234567n);
    expect(take(5, () => random.next())).toEqual([
      6457827717110365317n,
      3203168211198807973n,
      9817491932198370423n,
      4593380528125082431n,
      16408922859458223821n,
    ]);
  });
});

describe("xoshiro256**", () => {
  it("gives the reference outputs", () => {
    const random = new Xoshiro256([1n, 2n, 3n, 4n]);
    expect(take(10, () => random.next())).toEqual([
      11520n,
      0n,
      1509978240n,
      1215971899390074240n,
      1216172134540287360n,
      607988272756665600n,
      16172922978634559625n,
      8476171486693032832n,
      10595114339597558777n,
      2904607092377533576n,
    ]);
  });

  it("takes the low 64 bits of any seed, and needs none of them set", () => {
    const first = (seed: bigint) => Xoshiro256.seeded(seed).next();
    expect(first(0n)).not.toBe(0n);
    expect(first(2n ** 64n + 5n)).toBe(first(5n));
    expect(first(-1n)).toBe(first(2n ** 64n - 1n));
  });

  it("gives doubles in [0, 1), of 53 bits", () => {
    const random = Xoshiro256.seeded(9n);
    const count = 20_000;
    let sum = 0;
    for (let draw = 0; draw < count; draw++) {
      const value = random.nextDouble();
      expect(value >= 0 && value < 1 && Number.isInteger(value * 2 ** 53)).toBe(true);
      sum += value;
    }
    // The mean of n uniform numbers has the standard deviation sqrt(1 / 12 n).
    expect(Math.abs(sum / count - 0.5)).toBeLessThan(6 * Math.sqrt(1 / (12 * count)));
  });
});

it("drawn seeds have 64 bits and differ", () => {
  const seeds = take(64, drawSeed);
  expect(new Set(seeds).size).toBe(64);
  for (const seed of seeds) expect(seed).toBe(BigInt.asUintN(64, seed));
});
