/** Scoring windows on a step runner whose logits follow from what a slot holds. */
import { expect, test } from "vitest";
import { measurePerplexity } from "../../coordinator/perplexity/measure.js";
import type { StepLimits, StepResult, StepRunner } from "../../coordinator/schedule/step.js";
import type { StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { FAKE_VOCABULARY, fakeLogits } from "../support/fake-step-runner.js";

const SHAPE = { layers: 2, ff: 8 };
const LIMITS: StepLimits = { maxRows: 4, maxLogitRows: 4, slots: 1, contextLength: 16 };
const WINDOWS = [0, 1, 2].map((window) =>
  Array.from({ length: 9 }, (_, index) => (7 * window + 5 * index) % FAKE_VOCABULARY),
);
const LOST = new ThermoclineError("UNAVAILABLE", "an executor was lost");

class Runner implements StepRunner {
  readonly cacheEpoch = 0;
  readonly steps: StepRow[][] = [];
  readySteps = 0;
  private readonly history: number[] = [];

  /** @param before called with each step's number, from 1 on, before it runs */
  constructor(
    readonly limits: StepLimits = LIMITS,
    private readonly before: (step: number) => void = () => undefined,
  ) {}

  async run(rows: readonly StepRow[]): Promise<StepResult> {
    this.steps.push([...rows]);
    await Promise.resolve();
    this.before(this.steps.length);
    const logits: Float32Array[] = [];
    for (const { token, position, wantsLogits } of rows) {
      if (position > this.history.length) throw new Error(`position ${position} comes too early`);
      this.history.length = position;
      this.history.push(token);
      if (wantsLogits) logits.push(fakeLogits(this.history));
    }
    return {
      step: this.steps.length,
      logits,
      candidates: [],
      startNs: 0,
      endNs: 1,
      timings: new Float64Array(),
    };
  }

  async ready(): Promise<void> {
    this.readySteps = this.steps.length;
  }
}

function measure(runner: StepRunner, control = new AbortController(), windows = WINDOWS) {
  const shares: number[] = [];
  const onProgress = ({ share }: { share: number }) => void shares.push(share);
  const options = { windows, shape: SHAPE, onProgress, signal: control.signal };
  return measurePerplexity(runner, options).then((measurement) => ({ ...measurement, shares }));
}

/** Straight from the definition. */
function meanNllOf(windows: readonly (readonly number[])[]): number {
  const nlls = windows.flatMap((window) =>
    [5, 6, 7, 8].map((position) => {
      const logits = Array.from(fakeLogits(window.slice(0, position)));
      return (
        Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0)) -
        (logits[window[position] ?? -1] ?? 0)
      );
    }),
  );
  return nlls.reduce((sum, nll) => sum + nll, 0) / nlls.length;
}

test("scores the second half of every window", async () => {
  const runner = new Runner();
  const { estimate, windowsDone, tokensRead, shares } = await measure(runner);
  expect(estimate).toMatchObject({ tokens: 12, meanNll: expect.closeTo(meanNllOf(WINDOWS), 12) });
  expect({ windowsDone, tokensRead }).toEqual({ windowsDone: 3, tokensRead: 24 });
  expect(shares).toEqual([...shares].sort((a, b) => a - b));
  expect(shares.at(-1)).toBe(1);
  const [first = [], second = [], third = []] = runner.steps;
  expect(first.map(({ position }) => position)).toEqual([0, 1, 2, 3]);
  expect(first.every(({ wantsLogits }) => !wantsLogits)).toBe(true);
  expect(second.map(({ position }) => position)).toEqual([4, 5, 6, 7]);
  expect(second.every(({ wantsLogits }) => wantsLogits)).toBe(true);
  expect(third[0]).toMatchObject({ position: 0, token: WINDOWS[1]?.[0] });
});

test.each([
  [1, 1],
  [3, 3],
  [4, 1],
  [5, 2],
  [64, 3],
  [64, 64],
])("gives the same in steps of %d rows, %d of them with logits", async (maxRows, maxLogitRows) => {
  const runner = new Runner({ ...LIMITS, maxRows, maxLogitRows });
  expect((await measure(runner)).estimate).toEqual((await measure(new Runner())).estimate);
  for (const step of runner.steps) {
    expect(step.length).toBeLessThanOrEqual(maxRows);
    expect(step.filter(({ wantsLogits }) => wantsLogits).length).toBeLessThanOrEqual(maxLogitRows);
  }
});

test("reads a window again when an executor was lost in it", async () => {
  const runner = new Runner(LIMITS, (step) => {
    if (step === 4) throw LOST;
  });
  const { estimate, windowsDone } = await measure(runner);
  expect(estimate).toEqual((await measure(new Runner())).estimate);
  expect(windowsDone).toBe(3);
  expect(runner.readySteps).toBe(4);
  expect(runner.steps[4]?.[0]).toEqual(runner.steps[2]?.[0]);
});

test("gives a window up that loses executors every time", async () => {
  const runner = new Runner(LIMITS, (step) => {
    if (step % 2 === 0) throw LOST;
  });
  await expect(measure(runner)).rejects.toBe(LOST);
  expect(runner.steps).toHaveLength(6);
});

test("any other failure ends it", async () => {
  const failure = new ThermoclineError("INTERNAL", "a defect");
  const runner = new Runner(LIMITS, () => {
    throw failure;
  });
  await expect(measure(runner)).rejects.toBe(failure);
});

test("logits that are no numbers are no perplexity", async () => {
  const runner = new Runner();
  const broken: StepRunner = {
    limits: LIMITS,
    cacheEpoch: 0,
    ready: () => Promise.resolve(),
    run: async (rows) => {
      const result = await runner.run(rows);
      return { ...result, logits: result.logits.map((row) => row.fill(Number.NaN)) };
    },
  };
  await expect(measure(broken)).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringMatching(/^the logits for the token at position 5 are not finite numbers; /),
  });
});

test.each([
  ["in a step", 4, 1],
  ["in a step that fails for it", 5, 2],
  ["before the first window's end", 1, 0],
])("aborted %s it is what the whole windows by then gave", async (_, at, whole) => {
  const control = new AbortController();
  const runner = new Runner(LIMITS, (step) => {
    if (step !== at) return;
    control.abort();
    if (step === 5) throw LOST;
  });
  const { estimate, windowsDone } = await measure(runner, control);
  expect(windowsDone).toBe(whole);
  expect(runner.steps).toHaveLength(at);
  if (whole === 0) expect(estimate).toBeNull();
  else expect(estimate?.meanNll).toBeCloseTo(meanNllOf(WINDOWS.slice(0, whole)), 12);
});
