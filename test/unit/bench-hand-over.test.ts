import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { layerHandOvers, SPIN_NS } from "../../bench/hand-over.js";
import type { TimingRecord } from "../../bench/timing-records.js";
import type { Phase } from "../../native/index.js";

const OWNER = 0;
const PEER = 1;
const SECOND_PEER = 2;

function record(executor: number, layer: number, phase: Phase, startNs: number, endNs: number): TimingRecord {
  return { executor, layer, phase, startNs, endNs, active: 0, placed: 0, bytes: 0 };
}

/** The owner's input is there at 1000, the peer's partial sum at 2000. */
const LAYER: readonly TimingRecord[] = [
  record(OWNER, 3, "attention", 0, 900),
  record(OWNER, 3, "predict", 900, 1000),
  record(OWNER, 3, "hot", 1000, 1500),
  record(OWNER, 3, "wait", 1500, 2300),
  record(OWNER, 3, "merge", 2300, 2310),
  record(PEER, 3, "wait", 100, 1040),
  record(PEER, 3, "cold", 1040, 2000),
];

function without(phase: Phase, executor: number): TimingRecord[] {
  return LAYER.filter((record) => record.phase !== phase || record.executor !== executor);
}

describe("layerHandOvers", () => {
  test("times both ways, from ready to received", () => {
    expect(layerHandOvers(LAYER)).toEqual([
      {
        inputs: [{ ns: 40, awaited: true, waitedNs: 940 }],
        partial: { ns: 300, awaited: true, waitedNs: 800 },
      },
    ]);
  });

  test("takes the end of attention where nothing predicts", () => {
    expect(layerHandOvers(without("predict", OWNER))[0]?.inputs[0]?.ns).toBe(140);
  });

  test("knows a receiver that came late", () => {
    const late = [...without("wait", PEER), record(PEER, 3, "wait", 1020, 1040)];
    expect(layerHandOvers(late)[0]?.inputs).toEqual([{ ns: 0, awaited: false, waitedNs: 20 }]);
  });

  test("takes the wait after attention for the partial sum's, not the one for the residual", () => {
    expect(layerHandOvers([record(OWNER, 3, "wait", -50, 0), ...LAYER])[0]?.partial.ns).toBe(300);
  });

  test("waits for the slowest of several peers", () => {
    const second = [record(SECOND_PEER, 3, "wait", 200, 1060), record(SECOND_PEER, 3, "cold", 1060, 2250)];
    const [layer] = layerHandOvers([...LAYER, ...second]);
    expect(layer?.inputs.map(({ ns }) => ns)).toEqual([40, 60]);
    expect(layer?.partial.ns).toBe(50);
  });

  test("leaves out layers of one executor, and what is outside of layers", () => {
    const alone = [record(OWNER, 0, "attention", 0, 10), record(OWNER, 0, "hot", 10, 20)];
    const outside = [record(OWNER, -1, "embed", 0, 1), record(OWNER, -1, "head", 9, 10)];
    expect(layerHandOvers([...alone, ...outside])).toEqual([]);
  });

  test.each<[Phase, number]>([
    ["wait", OWNER],
    ["wait", PEER],
    ["cold", PEER],
  ])("leaves out a layer whose %s record of executor %d was lost", (phase, executor) => {
    expect(layerHandOvers(without(phase, executor))).toEqual([]);
  });
});

test("the spin limit is the engine's", () => {
  const header = readFileSync(new URL("../../native/engine/spin.h", import.meta.url), "utf8");
  const limit = /kSpinNs = ([\d']+);/.exec(header)?.[1]?.replaceAll("'", "");
  expect(Number(limit)).toBe(SPIN_NS);
});
