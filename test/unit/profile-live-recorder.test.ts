/** Counting what requests make neurons do, in a sample of steps. */
import { expect, test } from "vitest";
import type { CountingRunner } from "../../coordinator/profile/count-windows.js";
import {
  LIVE_DEFAULTS,
  LiveRecorder,
  type LiveRecorderOptions,
} from "../../coordinator/profile/live-recorder.js";
import type { StepResult } from "../../coordinator/schedule/step.js";
import type { StepRow } from "../../native/index.js";

const SHAPE = { layers: 2, ff: 3 };

/** Neuron 0 fires for every token and neuron 1 never; an observed step leaves its rows. */
class Runner implements CountingRunner {
  readonly limits = { maxRows: 8, maxLogitRows: 8, slots: 1, contextLength: 64 };
  cacheEpoch = 0;
  readonly observedSteps: boolean[] = [];
  private rows = 0;
  isAway = false;

  async run(rows: readonly StepRow[], observed = false): Promise<StepResult> {
    this.observedSteps.push(observed);
    if (observed) this.rows += rows.length;
    return {
      step: this.observedSteps.length,
      logits: [],
      candidates: [],
      startNs: 0,
      endNs: 1,
      timings: new Float64Array(),
    };
  }

  ready(): Promise<void> {
    return Promise.resolve();
  }

  observed: CountingRunner["observed"] = (read) => {
    if (this.isAway) return null;
    return read({
      takeCounts: () => {
        const { rows } = this;
        this.rows = 0;
        return {
          counts: Uint32Array.of(rows, 0, 1, 2, 0, 0),
          strengths: Float32Array.of(rows / 2, 0, 1, 1, 0, 0),
        };
      },
    });
  };
}

function recorderOf(runner: CountingRunner, options: Partial<LiveRecorderOptions> = {}): LiveRecorder {
  const onError = (error: unknown) => expect.unreachable(String(error));
  return new LiveRecorder(runner, SHAPE, { ...LIVE_DEFAULTS, onError, ...options });
}

function rowsOf(count: number): StepRow[] {
  return Array.from({ length: count }, (_, position) => ({
    token: 1,
    position,
    slot: 0,
    wantsLogits: false,
  }));
}

test("observes one step of each row of so many, at a place that chance gives", async () => {
  const runner = new Runner();
  const places = [0, 0.5, 0.999, 0.25];
  const recorder = recorderOf(runner, { observeEvery: 4, random: () => places.shift() ?? 0 });
  for (let step = 0; step < 16; step++) await recorder.run(rowsOf(1));
  const observed = runner.observedSteps.flatMap((isObserved, step) => (isObserved ? [step] : []));
  expect(observed).toEqual([0, 6, 11, 13]);
});

test("gives plain sums once, and again when they could not be kept", async () => {
  const recorder = recorderOf(new Runner(), { observeEvery: 1 });
  expect(recorder.take()).toEqual({
    counts: new Float64Array(6),
    strengths: new Float32Array(6),
    tokens: 0,
  });
  await recorder.run(rowsOf(3));
  await recorder.run(rowsOf(5));
  const taken = recorder.take();
  const sums = {
    counts: Float64Array.of(8, 0, 1, 2, 0, 0),
    strengths: Float32Array.of(4, 0, 1, 1, 0, 0),
    tokens: 8,
  };
  expect(taken).toEqual(sums);
  expect(recorder.take().tokens).toBe(0);
  recorder.giveBack(taken);
  await recorder.run(rowsOf(1));
  expect(recorder.take()).toMatchObject({ counts: Float64Array.of(9, 0, 2, 4, 0, 0), tokens: 9 });
});

test("what was counted a half-life ago weighs half", async () => {
  const recorder = recorderOf(new Runner(), { observeEvery: 1, halfLifeTokens: 8 });
  await recorder.run(rowsOf(4));
  recorder.read();
  expect(recorder.live).toMatchObject({ tokens: 4 });
  await recorder.run(rowsOf(8));
  recorder.read();
  expect(recorder.live.tokens).toBeCloseTo(10, 12);
  expect(recorder.live.counts[0]).toBeCloseTo(10, 12);
  expect(recorder.live.counts[3]).toBeCloseTo(3, 12);
  recorder.take();
  expect(recorder.live.tokens).toBeCloseTo(10, 12);
});

test("who asks for the next step's counts gets them by layer, when it has ended", async () => {
  const recorder = recorderOf(new Runner(), { observeEvery: 1 });
  const [first, second] = [recorder.next(), recorder.next()];
  await recorder.run(rowsOf(2));
  const byLayer = [Float64Array.of(2, 0, 1), Float64Array.of(2, 0, 0)];
  expect(await Promise.all([first, second])).toEqual([byLayer, byLayer]);
  expect(recorder.live.tokens).toBe(2);
});

test("a step that somebody else wants observed leaves its counts to them", async () => {
  const runner = new Runner();
  const recorder = recorderOf(runner, { observeEvery: 1 });
  await recorder.run(rowsOf(2), true);
  expect(recorder.live.tokens).toBe(0);
  expect(recorder.observed((steps) => steps.takeCounts().counts[0])).toBe(2);
});

test("reads after an observed step, every five seconds", async () => {
  let now = 0;
  const recorder = recorderOf(new Runner(), { observeEvery: 1, nowMs: () => now });
  now = 4999;
  await recorder.run(rowsOf(2));
  expect(recorder.live.tokens).toBe(0);
  now = 5000;
  await recorder.run(rowsOf(3));
  expect(recorder.live.tokens).toBe(5);
  now = 9999;
  await recorder.run(rowsOf(1));
  expect(recorder.live.tokens).toBe(5);
});

test("does not read while a step is at work", async () => {
  const recorder = recorderOf(new Runner(), { observeEvery: 1 });
  await recorder.run(rowsOf(2));
  const step = recorder.run(rowsOf(3));
  expect(recorder.take().tokens).toBe(0);
  await step;
  expect(recorder.take().tokens).toBe(5);
});

test("what lost executors had counted is not missed", async () => {
  const runner = new Runner();
  const recorder = recorderOf(runner, { observeEvery: 1 });
  await recorder.run(rowsOf(2));
  runner.cacheEpoch++;
  expect(recorder.take().tokens).toBe(0);
  await recorder.run(rowsOf(2));
  runner.cacheEpoch++;
  runner.isAway = true;
  expect(recorder.take().tokens).toBe(0);
  runner.isAway = false;
  await recorder.run(rowsOf(4));
  expect(recorder.take().tokens).toBe(4);
});

test("what goes wrong in counting fails no step", async () => {
  const errors: unknown[] = [];
  const failure = new Error("a defect");
  const runner = new Runner();
  let now = 0;
  const recorder = recorderOf(runner, {
    observeEvery: 1,
    nowMs: () => now,
    onError: (error) => errors.push(error),
  });
  runner.observed = () => {
    throw failure;
  };
  now = 6000;
  expect(await recorder.run(rowsOf(1))).toMatchObject({ step: 1 });
  expect(errors).toEqual([failure]);
  expect(recorder.live.tokens).toBe(0);
});

test("a step's failure is its caller's, and nothing is counted", async () => {
  const failure = new Error("lost");
  const runner = new Runner();
  runner.run = () => Promise.reject(failure);
  const recorder = recorderOf(runner, { observeEvery: 1 });
  await expect(recorder.run(rowsOf(1))).rejects.toBe(failure);
  expect(recorder.take().tokens).toBe(0);
});
