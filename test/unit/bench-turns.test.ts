import { expect, test } from "vitest";
import { prefillTokensPerS, randomPrompt } from "../../bench/prefill.js";
import { takeTurns } from "../../bench/turns.js";
import { ratios } from "../../bench/versus.js";

test("warms everyone up, then gives each the rounds in order, and keeps only those", async () => {
  const order: string[] = [];
  const contender = (name: string) => (round: number) => {
    order.push(`${name}${round}`);
    return Promise.resolve(round);
  };
  const results = await takeTurns("test", [contender("a"), contender("b")], {
    runs: 2,
    progress: () => undefined,
    signal: new AbortController().signal,
  });
  expect(order).toEqual(["a-1", "b-1", "a0", "b0", "b1", "a1"]);
  expect(results).toEqual([
    [0, 1],
    [0, 1],
  ]);
});

test("compares what was measured in the same round", () => {
  expect(ratios([10, 30], [5, 60])).toEqual([2, 0.5]);
});

test("takes a prompt's rate from its first step's start to its last one's end", () => {
  const step = (startNs: number, endNs: number) => ({
    ...{ step: 1, startNs, endNs, position: 0 },
    timings: new Float64Array(),
  });
  expect(prefillTokensPerS(128, [step(1e9, 1.2e9), step(1.3e9, 1.5e9)])).toBeCloseTo(256);
});

test("gives contenders of one round the same prompt, and others another", () => {
  const prompt = randomPrompt(100, 32, 3);
  expect(prompt).toEqual(randomPrompt(100, 32, 3));
  expect(prompt).not.toEqual(randomPrompt(100, 32, 4));
  expect(prompt).toHaveLength(100);
  expect(Math.min(...prompt)).toBeGreaterThanOrEqual(0);
  expect(Math.max(...prompt)).toBeLessThan(32);
  expect(new Set(prompt).size).toBeGreaterThan(16);
});
