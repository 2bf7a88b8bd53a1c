import { fc, test as property } from "@fast-check/vitest";
import { expect, test } from "vitest";
import { largestFitting } from "../../bench/largest-fitting.js";

property.prop([
  fc.array(fc.integer({ min: 0, max: 50 }), { minLength: 1, maxLength: 100 }),
  fc.integer({ min: -5, max: 120 }),
  fc.integer({ min: 1, max: 100 }),
  fc.integer({ min: 0, max: 3000 }),
])(
  "finds the largest that fits, looking at none twice, however wrong the estimate",
  async (steps, first, step, limit) => {
    let sum = 0;
    const sizes = steps.map((each) => (sum += each));
    const seen: number[] = [];
    const found = await largestFitting({ most: sizes.length - 1, first, step, limit }, (size) => {
      seen.push(size);
      return Promise.resolve(sizes[size] ?? Number.NaN);
    });
    const expected = sizes.findLastIndex((taken) => taken <= limit);
    expect(found).toBe(expected === -1 ? null : expected);
    expect(new Set(seen).size).toBe(seen.length);
    // An estimate's looks, and then halves of what is left.
    expect(seen.length).toBeLessThanOrEqual(4 + Math.ceil(Math.log2(sizes.length + 1)));
  },
);

test("a good estimate needs two looks, and one where everything fits", async () => {
  const seen: number[] = [];
  const measure = (size: number) => {
    seen.push(size);
    return Promise.resolve(500 + 100 * size);
  };
  expect(await largestFitting({ most: 33, first: 15, step: 100, limit: 2050 }, measure)).toBe(15);
  expect(seen).toEqual([15, 16]);
  seen.length = 0;
  expect(await largestFitting({ most: 33, first: 33, step: 100, limit: 9000 }, measure)).toBe(33);
  expect(seen).toEqual([33]);
});

test("what cannot be had at all does not fit", async () => {
  const measure = (size: number) => Promise.resolve(size > 7 ? Number.POSITIVE_INFINITY : size);
  expect(await largestFitting({ most: 33, first: 20, step: 1, limit: 30 }, measure)).toBe(7);
});
