/** What a profile says of a model's sparsity. */
import { expect, test } from "vitest";
import { curveOf, hotNeurons, summarize } from "../../coordinator/profile/analysis.js";
import { profileOf } from "../support/profiles.js";
import { TEST_MODEL } from "../support/public-server.js";

const MODEL = { shape: { ...TEST_MODEL.shape, layers: 2, ff: 5 } };

test("hot neurons are the fewest that carry 80 %, hottest first, equal ones in their order", () => {
  expect(Array.from(hotNeurons(Float32Array.of(5, 40, 10, 40, 5)))).toEqual([1, 3]);
  expect(Array.from(hotNeurons(Float32Array.of(5, 40, 10, 39, 6)))).toEqual([1, 3, 2]);
  expect(Array.from(hotNeurons(Float32Array.of(1, 1, 1, 1, 1)))).toEqual([0, 1, 2, 3]);
  expect(Array.from(hotNeurons(Float32Array.of(0, 7, 0)))).toEqual([1]);
  expect(Array.from(hotNeurons(new Float32Array(3)))).toEqual([]);
});

test("shares of neurons that fire, and that carry 80 %, of layers and of the whole model", () => {
  // 1000 tokens.
  const profile = profileOf(MODEL, { a: [100, 800, 50, 50, 0, 200, 200, 200, 200, 200] });
  const { tokens, firing, hot, layers, overlaps } = summarize(profile);
  expect({ tokens, overlaps }).toEqual({ tokens: 1000, overlaps: [] });
  expect(firing).toBeCloseTo(0.2, 12);
  // 800 + 4 * 200 of 2000.
  expect(hot).toBe(0.5);
  expect(layers).toEqual([
    { layer: 0, firing: expect.closeTo(0.2, 12), hot: 0.2 },
    { layer: 1, firing: expect.closeTo(0.2, 12), hot: 0.8 },
  ]);
});

test("texts overlap in hot neurons, and in what those carry", () => {
  const profile = profileOf(MODEL, {
    a: [50, 30, 20, 0, 0, 0, 0, 0, 0, 0],
    b: [0, 60, 40, 20, 0, 0, 0, 0, 0, 0],
    c: [0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
  });
  // Hot: a's 0 and 1, b's 1 and 2, c's 9.
  expect(summarize(profile).overlaps).toEqual([
    { texts: ["a", "b"], jaccard: 1 / 3, carried: [0.5, 0.5] },
    { texts: ["a", "c"], jaccard: 0, carried: [0, 0] },
    { texts: ["b", "c"], jaccard: 0, carried: [0, 0] },
  ]);
});

test("a text overlaps with itself entirely, and with one of which nothing was read not at all", () => {
  const counts = [500, 300, 200, 10, 3, 1, 0, 0, 1, 900];
  const profile = profileOf(MODEL, { a: counts, b: counts });
  profile.source({ name: "c", digest: "c", contextLength: 16 });
  const { overlaps } = summarize(profile);
  expect(overlaps).toHaveLength(1);
  expect(overlaps[0]?.jaccard).toBe(1);
  expect(overlaps[0]?.carried[0]).toBeGreaterThanOrEqual(0.8);
});

test("a curve rises from nothing to everything, ever more slowly", () => {
  const counts = Float32Array.from({ length: 1000 }, (_, neuron) => ((7 * neuron) % 1000) ** 2);
  const { neurons, activations } = curveOf(counts);
  expect([neurons[0], activations[0], neurons.at(-1), activations.at(-1)]).toEqual([0, 0, 1, 1]);
  const slopes = Array.from(neurons, (share, index) => {
    const [run, rise] = [
      share - (neurons[index - 1] ?? 0),
      (activations[index] ?? 0) - (activations[index - 1] ?? 0),
    ];
    return index === 0 ? Number.POSITIVE_INFINITY : rise / run;
  });
  expect(slopes.slice(1).every((slope, index) => slope <= (slopes[index] ?? 0) + 1e-12)).toBe(true);
  // Squares: the sum of the hottest half is 1 - 1/8 of all.
  const half = neurons.findIndex((share) => share >= 0.5);
  expect(activations[half]).toBeCloseTo(1 - (1 - (neurons[half] ?? 0)) ** 3, 2);
});

test("a curve of few neurons has a point for each", () => {
  const { neurons, activations } = curveOf(Float32Array.of(1, 3, 0, 4));
  expect(Array.from(neurons)).toEqual([0, 0.25, 0.5, 0.75, 1]);
  expect(Array.from(activations)).toEqual([0, 0.5, 0.875, 1, 1]);
});
