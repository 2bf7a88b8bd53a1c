import { describe, expect, test } from "vitest";
import { LayerSummary, stepLayers } from "../../coordinator/schedule/layer-summary.js";
import { PHASES, type Phase, TIMING_FIELDS } from "../../native/index.js";

type Fields = Record<Exclude<(typeof TIMING_FIELDS)[number], "phase">, number> & { phase: Phase };

function timings(records: readonly Partial<Fields>[]): Float64Array {
  return Float64Array.from(
    records.flatMap((record) => {
      const full = { ...record, phase: PHASES.indexOf(record.phase ?? "embed") };
      return TIMING_FIELDS.map((field) => full[field] ?? 0);
    }),
  );
}

/** GPU executor 0 owns layer 0, CPU executors 1 and 2 help; `slow` stretches all times. */
function step(slow: number): Float64Array {
  const at = (startUs: number, endUs: number) => ({
    startNs: startUs * 1000 * slow,
    endNs: endUs * 1000 * slow,
  });
  const all = { layer: 0, rows: 2 };
  return timings([
    { layer: -1, executor: 0, phase: "embed", ...at(0, 50), rows: 2, bytes: 999 },
    { ...all, executor: 1, phase: "wait", ...at(0, 130) },
    { ...all, executor: 2, phase: "wait", ...at(0, 130) },
    { ...all, executor: 0, phase: "attention", ...at(100, 120), bytes: 1000 },
    { ...all, executor: 0, phase: "predict", ...at(120, 130), bytes: 100 },
    { ...all, executor: 0, phase: "hot", ...at(130, 150), active: 6, placed: 40, bytes: 300 },
    { ...all, executor: 1, phase: "cold", ...at(131, 171), active: 3, placed: 30, bytes: 30 },
    { ...all, executor: 2, phase: "cold", ...at(131, 181), active: 1, placed: 30, bytes: 10 },
    { ...all, executor: 0, phase: "wait", ...at(150, 182) },
    { ...all, executor: 0, phase: "merge", ...at(182, 184) },
    { layer: -1, executor: 0, phase: "head", ...at(200, 300), rows: 2, bytes: 999 },
  ]);
}

describe("a step's layers", () => {
  test("take the slowest of several executors, the owner's waits alone, and wall time", () => {
    const summary = new LayerSummary();
    summary.add(stepLayers(step(1)));
    expect(summary.latencies()).toEqual([
      {
        layer: 0,
        attentionUs: 20,
        predictUs: 10,
        hotUs: 20,
        coldUs: 50,
        waitUs: 32,
        mergeUs: 2,
        totalUs: 84,
        activeHotNeurons: 3,
        activeColdNeurons: 2,
        placedHotNeurons: 40,
        placedColdNeurons: 60,
        bytesTouched: 1440,
      },
    ]);
  });

  test("are zero in the phases a layer does not have", () => {
    const summary = new LayerSummary();
    summary.add(
      stepLayers(
        timings([
          { layer: 0, executor: 0, phase: "attention", startNs: 0, endNs: 7000, rows: 1 },
          { layer: 0, executor: 0, phase: "cold", startNs: 7000, endNs: 9000, rows: 1, active: 5, placed: 9 },
        ]),
      ),
    );
    expect(summary.latencies()[0]).toMatchObject({
      attentionUs: 7,
      predictUs: 0,
      hotUs: 0,
      coldUs: 2,
      waitUs: 0,
      mergeUs: 0,
      totalUs: 9,
      activeColdNeurons: 5,
    });
  });
});

describe("a request's summary", () => {
  test("holds the median of its steps", () => {
    const odd = new LayerSummary();
    for (const slow of [9, 1, 2]) odd.add(stepLayers(step(slow)));
    expect(odd.latencies()[0]?.attentionUs).toBe(40);

    const even = new LayerSummary();
    for (const slow of [9, 1, 2, 4]) even.add(stepLayers(step(slow)));
    expect(even.latencies()[0]?.attentionUs).toBe(60);
  });

  test("is in the order of layers, over the steps that have them", () => {
    const summary = new LayerSummary();
    const attention = (layer: number, us: number) => ({
      layer,
      executor: 0,
      phase: "attention" as const,
      startNs: 0,
      endNs: us * 1000,
      rows: 1,
      bytes: us,
    });
    summary.add(stepLayers(timings([attention(2, 5), attention(0, 1)])));
    summary.add(stepLayers(timings([attention(0, 3)])));
    expect(
      summary.latencies().map(({ layer, attentionUs, bytesTouched }) => [layer, attentionUs, bytesTouched]),
    ).toEqual([
      [0, 2, 2],
      [2, 5, 5],
    ]);
  });

  test("is empty when no step was added", () => {
    expect(new LayerSummary().latencies()).toEqual([]);
  });
});
