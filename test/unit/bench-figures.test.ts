/** What the benchmarks make of recorded steps. */
import { expect, test } from "vitest";
import { stepGaps } from "../../bench/coordinator-time.js";
import type { RecordedStep } from "../../bench/recording-runner.js";
import { overheads } from "../../bench/tracing.js";
import { tokenWork } from "../../bench/work.js";
import { packTimings, type TimingRecord } from "../support/timings.js";

function step(
  number: number,
  startNs: number,
  endNs: number,
  records: Partial<TimingRecord>[],
): RecordedStep {
  const blank = { step: number, executor: 0, layer: 0, rows: 1, active: 0, placed: 0, bytes: 0 };
  const timings = packTimings(
    records.map((record) => ({ ...blank, phase: "attention", startNs, endNs, ...record })),
  );
  return { step: number, startNs, endNs, timings, position: number };
}

test("divides the time between two steps at the coordinator's own clock readings", () => {
  const steps = [
    step(1, 0, 1000, [
      { startNs: 20, endNs: 400 },
      { startNs: 400, endNs: 940 },
    ]),
    step(2, 1030, 2000, [{ startNs: 1045, endNs: 1900 }]),
    step(3, 2010, 3000, [{ startNs: 2090, endNs: 2999 }]),
  ];
  expect(stepGaps(steps)).toEqual([
    { wakeNs: 60, ownNs: 30, startNs: 15 },
    { wakeNs: 100, ownNs: 10, startNs: 80 },
  ]);
});

test("leaves out records that belong to the step before", () => {
  const late = step(2, 1030, 2000, [
    { step: 1, startNs: 900, endNs: 5000 },
    { startNs: 1045, endNs: 1900 },
  ]);
  const [gap] = stepGaps([step(1, 0, 1000, [{ startNs: 20, endNs: 940 }]), late]);
  expect(gap?.startNs).toBe(15);
});

test("counts what a token touches as means over steps, of both halves", () => {
  const steps = [
    step(1, 0, 1, [
      { phase: "attention", bytes: 100 },
      { phase: "predict", bytes: 10, active: 50, placed: 64 },
      { phase: "hot", bytes: 20, active: 3, placed: 16 },
      { phase: "cold", bytes: 30, active: 5, placed: 48, executor: 1 },
    ]),
    step(2, 2, 3, [
      { phase: "attention", bytes: 100 },
      { phase: "hot", bytes: 0, active: 0, placed: 16 },
      { phase: "cold", bytes: 20, active: 4, placed: 48, executor: 1 },
    ]),
  ];
  expect(tokenWork(steps, 2)).toEqual({ bytes: 140, active: 6, neurons: 64 });
});

test("compares turns of the same round", () => {
  const turns = (...us: number[]) => us.map((usPerToken) => ({ usPerToken, cpuUsPerToken: 0 }));
  expect(overheads(turns(100, 200), turns(102, 190))).toEqual([expect.closeTo(2), expect.closeTo(-5)]);
});
