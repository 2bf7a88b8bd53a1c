import { expect, test } from "vitest";
import { phaseFigures, tokenTimes } from "../../bench/phase-times.js";
import type { RecordedStep } from "../../bench/recording-runner.js";
import type { Phase } from "../../native/index.js";
import { packTimings } from "../support/timings.js";

function step(
  number: number,
  startNs: number,
  endNs: number,
  phases: [Phase, number, number, number?][],
): RecordedStep {
  const timings = packTimings(
    phases.map(([phase, startNs, endNs, executor = 0]) => ({
      ...{ step: number, executor, layer: 0, phase, startNs, endNs },
      ...{ rows: 1, active: 0, placed: 0, bytes: 0 },
    })),
  );
  return { step: number, startNs, endNs, timings, position: number };
}

const STEPS = [
  step(1, 0, 10_000, [["attention", 1_000, 9_000]]),
  step(2, 12_000, 30_000, [
    ["attention", 14_000, 18_000],
    ["attention", 20_000, 22_000],
    ["cold", 18_000, 20_000],
    // On another executor, beside the two before.
    ["hot", 15_000, 21_000, 1],
  ]),
];

test("adds up each phase, and finds what no phase covers", () => {
  expect(tokenTimes(STEPS)).toEqual([
    {
      totalUs: 20,
      phasesUs: new Map([
        ["attention", 6],
        ["cold", 2],
        ["hot", 6],
      ]),
      outsideUs: 12,
    },
  ]);
});

test("counts no time outside of the token", () => {
  const early = step(2, 12_000, 30_000, [["wait", 2_000, 40_000]]);
  const [first] = STEPS;
  expect(tokenTimes(first === undefined ? [] : [first, early])[0]?.outsideUs).toBe(0);
});

test("reports the phases that occurred, in their order", () => {
  const names = phaseFigures("here", tokenTimes(STEPS)).map(({ name, value }) => [name, value]);
  expect(names).toEqual([
    ["a token's time, here", 20],
    ["its attention, here", 6],
    ["its hot, here", 6],
    ["its cold, here", 2],
    ["its time outside of phases, here", 12],
  ]);
});
