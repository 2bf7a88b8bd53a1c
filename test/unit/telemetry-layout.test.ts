/** Where a step's layers begin and end when executors take turns, and when records are missing. */
import { expect, it } from "vitest";
import { layOut } from "../../coordinator/telemetry/step-layout.js";
import type { Phase } from "../../native/index.js";
import { packTimings, type TimingRecord } from "../support/timings.js";

function record(
  executor: number,
  layer: number,
  phase: Phase,
  startNs: number,
  endNs: number,
  step = 1,
): TimingRecord {
  return { step, executor, layer, phase, startNs, endNs, rows: 1, active: 2, placed: 3, bytes: 4 };
}

function layoutOf(records: readonly TimingRecord[]) {
  return layOut({
    step: 1,
    logits: [],
    candidates: [],
    startNs: 0,
    endNs: 1000,
    timings: packTimings(records),
  });
}

function intervals(records: readonly TimingRecord[]) {
  return layoutOf(records).layers.map(({ layer, startNs, endNs }) => [layer, startNs, endNs]);
}

it("a layer begins where the residual left the one before, also when it changes executors", () => {
  const records = [
    record(0, 0, "attention", 10, 100),
    record(0, 0, "cold", 100, 200),
    record(0, 0, "merge", 200, 210),
    // Executor 1 waits for the residual from the step's beginning on, and executor 0 for the head's.
    record(1, 1, "wait", 5, 230),
    record(1, 1, "attention", 230, 300),
    record(1, 1, "merge", 300, 310),
    record(0, -1, "wait", 210, 320),
    record(0, -1, "head", 320, 400),
  ];
  expect(intervals(records)).toEqual([
    [0, 10, 210],
    [1, 210, 310],
  ]);
  const layout = layoutOf(records);
  expect(layout.afterLayers).toEqual({ startNs: 310, endNs: 1000 });
  expect(layout.others).toHaveLength(2);
  expect(layout.spans).toBe(1 + 2 + records.length);
});

it("a helper's wait makes no layer longer", () => {
  expect(
    intervals([
      record(1, 3, "wait", 0, 120),
      record(0, 3, "attention", 100, 120),
      record(1, 3, "cold", 120, 180),
      record(0, 3, "wait", 120, 190),
      record(0, 3, "merge", 190, 200),
    ]),
  ).toEqual([[3, 100, 200]]);
});

it("shows what there is when records were lost, and nothing outside the step", () => {
  expect(layoutOf([]).layers).toEqual([]);
  expect(intervals([record(1, 2, "wait", 10, 20)])).toEqual([]);
  expect(intervals([record(1, 2, "cold", 10, 20)])).toEqual([[2, 10, 20]]);
  expect(intervals([record(0, 2, "attention", -50, 20), record(0, 3, "attention", 990, 1200)])).toEqual([
    [2, 0, 20],
    [3, 990, 1000],
  ]);
  expect(intervals([record(0, 2, "attention", 10, 20, 7)])).toEqual([]);
});
