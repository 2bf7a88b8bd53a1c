import { expect, test } from "vitest";
import {
  MOST_FREQUENT,
  normalDensity,
  normalQuantile,
  powerLaw,
  shareOfFiring,
} from "../../coordinator/model/synth/frequencies.js";

const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

test.each([
  [11_008, 0.1, 0.8],
  [11_008, 0.03, 1.2],
  [1024, 0.5, 0.5],
  [64, 0.9, 2],
  [64, 0.1, 0],
])("%d neurons fire with the mean %d and fall with the power %d of their rank", (neurons, wanted, skew) => {
  const frequencies = powerLaw(neurons, wanted, skew);
  expect(frequencies).toHaveLength(neurons);
  expect(mean(frequencies)).toBeCloseTo(wanted, 9);
  expect(Math.max(...frequencies)).toBeLessThanOrEqual(MOST_FREQUENT);
  const first = frequencies.findIndex((p) => p < MOST_FREQUENT);
  for (let rank = first + 1; rank < neurons; rank++) {
    const ratio = (frequencies[rank] ?? 0) / (frequencies[first] ?? 0);
    expect(ratio).toBeCloseTo(((rank + 1) / (first + 1)) ** -skew, 9);
  }
});

test("a larger exponent leaves more of the firing to fewer neurons", () => {
  const shares = [0, 0.5, 0.8, 1.2].map((skew) => shareOfFiring(powerLaw(1000, 0.1, skew), 0.2));
  expect(shares[0]).toBeCloseTo(0.2, 9);
  expect([...shares].sort((a, b) => a - b)).toEqual(shares);
  expect(new Set(shares).size).toBe(4);
});

// From tables of the normal distribution.
test.each([
  [0.5, 0],
  [0.975, 1.959963984540054],
  [0.1, -1.2815515655446004],
  [0.001, -3.090232306167813],
  [0.999, 3.090232306167813],
  [1e-9, -5.997807015007687],
])("a normal variable lies with probability %d below %d", (p, value) => {
  expect(normalQuantile(p)).toBeCloseTo(value, 7);
});

test("the density is the inverse slope of the quantile", () => {
  const step = 1e-6;
  for (const p of [0.01, 0.3, 0.5, 0.98]) {
    const slope = (normalQuantile(p + step) - normalQuantile(p - step)) / (2 * step);
    expect(slope * normalDensity(normalQuantile(p))).toBeCloseTo(1, 5);
  }
});
