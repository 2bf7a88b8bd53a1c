import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { distribution, interleaved, median } from "../../bench/statistics.js";

describe("distribution", () => {
  test("interpolates between ranks", () => {
    const values = [4, 1, 3, 2];
    expect(distribution(values)).toEqual({
      count: 4,
      median: 2.5,
      q1: 1.75,
      q3: 3.25,
      p99: expect.closeTo(3.97),
    });
    expect(values).toEqual([4, 1, 3, 2]);
  });

  test("of one value is that value", () => {
    expect(distribution([7])).toEqual({ count: 1, median: 7, q1: 7, q3: 7, p99: 7 });
  });

  test("orders numbers as numbers", () => {
    expect(median([10, 9, 100])).toBe(10);
  });

  test("refuses to describe nothing", () => {
    expect(() => distribution([])).toThrow(RangeError);
    expect(() => median([])).toThrow(RangeError);
  });

  // Whole numbers, so that rounding moves nothing past its neighbour.
  property.prop([fc.array(fc.integer({ min: -1e6, max: 1e6 }), { minLength: 1 })])(
    "keeps quantiles in order, between the extremes",
    (values) => {
      const { q1, median, q3, p99 } = distribution(values);
      const inOrder = [Math.min(...values), q1, median, q3, p99, Math.max(...values)];
      inOrder.slice(1).forEach((value, index) => {
        expect(value).toBeGreaterThanOrEqual(inOrder[index] ?? Number.NaN);
      });
    },
  );
});

describe("interleaved", () => {
  test("turns round after each round", () => {
    expect(interleaved(["a", "b", "c"], 3).join("")).toBe("abccbaabc");
  });

  property.prop([fc.uniqueArray(fc.integer(), { minLength: 1, maxLength: 8 }), fc.nat({ max: 20 })])(
    "gives everyone one turn a round",
    (contenders, rounds) => {
      const order = interleaved(contenders, rounds);
      for (let round = 0; round < rounds; round++) {
        const turns = order.slice(round * contenders.length, (round + 1) * contenders.length);
        expect(new Set(turns)).toEqual(new Set(contenders));
      }
      expect(order).toHaveLength(rounds * contenders.length);
    },
  );
});
