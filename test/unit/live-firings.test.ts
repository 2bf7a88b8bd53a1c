import { expect, test } from "vitest";
import {
  LiveFirings,
  OBSERVED_EVERY,
  type ObservableRunner,
} from "../../coordinator/placement/live-firings.js";
import type { StepResult } from "../../coordinator/schedule/step.js";
import type { FiredCounts, StepRow } from "../../native/index.js";

const SHAPE = { layers: 2, ff: 3 };
const RESULT: StepResult = { step: 1, logits: [], startNs: 0, endNs: 0, timings: new Float64Array() };

/** Counts every row of an observed step once for each neuron. */
class FakeRunner implements ObservableRunner {
  readonly limits = { maxRows: 600, maxLogitRows: 600, slots: 1, contextLength: 8 };
  cacheEpoch = 1;
  away = false;
  running = false;
  readonly observations: boolean[] = [];
  private counts = new Uint32Array(6);

  async run(rows: readonly StepRow[], observed = false): Promise<StepResult> {
    this.running = true;
    await Promise.resolve();
    this.observations.push(observed);
    if (observed) this.counts = this.counts.map((count, i) => count + rows.length * (i + 1));
    this.running = false;
    return RESULT;
  }

  observed<T>(read: (steps: { takeCounts(): FiredCounts }) => T): T | null {
    if (this.away) return null;
    const takeCounts = () => {
      expect(this.running).toBe(false);
      const { counts } = this;
      this.counts = new Uint32Array(6);
      return { counts, strengths: new Float32Array(6) };
    };
    return read({ takeCounts });
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }
}

function rows(count: number, wantsLogits = true): StepRow[] {
  return Array.from({ length: count }, () => ({ token: 0, position: 0, slot: 0, wantsLogits }));
}

test("one in sixteen of the steps that only decode is observed", async () => {
  const runner = new FakeRunner();
  const firings = new LiveFirings(runner, SHAPE);
  for (let step = 0; step <= OBSERVED_EVERY; step++) {
    expect(await firings.run(rows(1))).toBe(RESULT);
    await firings.run([...rows(1), ...rows(3, false)]);
  }
  const observed = runner.observations.flatMap((is, step) => (is ? [step] : []));
  expect(observed).toEqual([0, 2 * OBSERVED_EVERY]);
});

test("counts are taken when the next step has ended, and by layer", async () => {
  const firings = new LiveFirings(new FakeRunner(), SHAPE);
  let taken = false;
  const counts = firings.take().finally(() => {
    taken = true;
  });
  await Promise.resolve();
  expect(taken).toBe(false);
  await firings.run(rows(2));
  expect((await counts).map((layer) => [...Array.from(layer)])).toEqual([
    [2, 4, 6],
    [8, 10, 12],
  ]);
});

test("what was counted 512 rows ago weighs half", async () => {
  const firings = new LiveFirings(new FakeRunner(), SHAPE);
  const after = async (count: number) => {
    const counts = firings.take();
    await firings.run(rows(count));
    for (let step = 1; step < OBSERVED_EVERY; step++) await firings.run(rows(1));
    return (await counts)[0]?.[0];
  };
  expect(await after(100)).toBe(100);
  expect(await after(512)).toBe(100 / 2 + 512);
});

test("while executors are away the counts stay as they were", async () => {
  const runner = new FakeRunner();
  const firings = new LiveFirings(runner, SHAPE);
  const first = firings.take();
  await firings.run(rows(8));
  expect((await first)[0]?.[0]).toBe(8);
  runner.away = true;
  const second = firings.take();
  await firings.run(rows(1));
  expect((await second)[0]?.[0]).toBe(8);
});
