/** What is found about a machine from steps whose times are known. */
import { describe, expect, test } from "vitest";
import { nonNegativeLeastSquares } from "../../coordinator/least-squares.js";
import { fitMachine, type MeasuredStep } from "../../coordinator/machine-fit.js";
import type { TimingRecord } from "../../coordinator/telemetry/step-records.js";
import type { TensorRef } from "../../native/index.js";

describe("least squares", () => {
  test("finds what the observations were made of", () => {
    const rows = [
      [1, 2, 0],
      [1, 5, 1],
      [1, 7, 0],
      [1, 1, 4],
    ];
    const found = nonNegativeLeastSquares(
      rows,
      rows.map(([a = 0, b = 0, c = 0]) => 3 * a + 0.5 * b + 2 * c),
    );
    expect(found.map((value) => Number(value.toFixed(9)))).toEqual([3, 0.5, 2]);
  });

  test("takes 0 where a coefficient would be negative", () => {
    const [start = -1, slope = -1] = nonNegativeLeastSquares(
      [
        [1, 1],
        [1, 2],
        [1, 3],
      ],
      [0, 2, 4],
    );
    expect(start).toBe(0);
    expect(slope).toBeGreaterThan(0);
  });
});

/** A machine of 2 and 1 bytes a ns that takes turns a quarter of the time, and 5 µs for each hand-over. */
function steps(): MeasuredStep[] {
  const layers: [owner: number, hotBytes: number, coldBytes: number][] = [
    [0, 60_000, 0],
    [0, 30_000, 30_000],
    [1, 0, 60_000],
    [1, 20_000, 40_000],
    [0, 40_000, 20_000],
    [0, 0, 50_000],
  ];
  return Array.from({ length: 3 }, (_, step): MeasuredStep => {
    const records: TimingRecord[] = [];
    const startNs = 1e6 * step;
    let now = startNs + 7000;
    const add = (
      executor: number,
      layer: number,
      phase: TimingRecord["phase"],
      from: number,
      ns: number,
      bytes = 0,
    ) =>
      records.push({
        executor,
        layer,
        phase,
        startNs: from,
        endNs: from + ns,
        active: bytes > 0 ? 4 : 0,
        placed: 16,
        bytes,
      });
    for (const [layer, [owner, hotBytes, coldBytes]] of layers.entries()) {
      if (layer > 0 && layers[layer - 1]?.[0] !== owner) now += 2000;
      add(owner, layer, "attention", now, 8000 / (owner === 0 ? 2 : 1), 8000);
      now += 8000 / (owner === 0 ? 2 : 1);
      const hotNs = hotBytes > 0 ? 1000 + hotBytes / 2 : 0;
      const coldNs = coldBytes > 0 ? 1500 + coldBytes : 0;
      const [short, long] = [Math.min(hotNs, coldNs), Math.max(hotNs, coldNs)];
      // At 4/5 of their speed while both run.
      const shortNs = short * 1.25;
      const longNs = long + short * 0.25;
      if (hotBytes > 0) add(0, layer, "hot", now, hotNs < coldNs ? shortNs : longNs, hotBytes);
      if (coldBytes > 0) add(1, layer, "cold", now, coldNs <= hotNs ? shortNs : longNs, coldBytes);
      now += long + short * 0.25 + ((owner === 0 ? coldBytes : hotBytes) > 0 ? 4900 : 0);
      add(owner, layer, "merge", now, 100);
      now += 100;
    }
    add(1, -1, "head", now + 2000, 10_000, 10_000);
    return { schedule: SCHEDULE, startNs, endNs: now + 15_000, turnNs: 30_000, records };
  });
}

const SCHEDULE = { executors: ["gpu" as const, "cpu" as const], layers: [], head: 1 };

test("rates, starts, contention and hand-over are told apart", () => {
  const tensor = (name: string): TensorRef => ({ name, type: "q8_0", offset: 0, rows: 1, cols: 32 });
  const { machine, uniformShare } = fitMachine(steps(), {
    model: {
      shape: { layers: 6, ff: 16 } as never,
      tensors: [tensor("blk.0.attn_q.weight"), tensor("output.weight")],
    },
    executors: [
      { kind: "gpu", device: "host", card: null, budgetBytes: 1, threads: 1 },
      { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: 1 },
    ],
    cpu: "a CPU",
  });
  expect(machine.gpu.bytesPerS / 2e9).toBeCloseTo(1, 2);
  expect(machine.cpu.bytesPerS / 1e9).toBeCloseTo(1, 2);
  expect(machine.gpu.startUs).toBeCloseTo(1, 1);
  expect(machine.cpu.startUs).toBeCloseTo(1.5, 1);
  expect(machine.contention).toBeCloseTo(0.25, 2);
  expect(machine.handOverUs).toBeCloseTo(5, 0);
  expect(machine.residualUs).toBeCloseTo(2, 6);
  expect(machine.cpu.kernels[0]).toMatchObject({ type: "q8_0", stage: "attention" });
  expect(machine.cpu.kernels[0]?.share).toBeCloseTo(1, 2);
  // Ten halves of four active neurons, and of 6 layers of 16.
  expect(uniformShare).toBeCloseTo(36 / 96, 9);
});
