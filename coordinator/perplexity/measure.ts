/** Reads windows of tokens with a model and scores the second half of each. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { ModelShape, StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { ActivityCounts } from "../activity-counts.js";
import { LogSoftmax } from "../schedule/log-probabilities.js";
import type { StepRunner } from "../schedule/step.js";
import { readWhole, stepOf } from "../text/read-window.js";
import { Estimate, type Perplexity } from "./estimate.js";
import { firstScored } from "./scored-tokens.js";

export interface MeasureProgress {
  windowsDone: number;
  windows: number;
  /** Share of the work that is done. */
  share: number;
  /** So far. */
  seconds: number;
  /** Over the windows that are done. */
  perplexity: number | null;
}

export interface MeasureOptions {
  /** Of one length, at least {@link LEAST_CONTEXT}. */
  windows: readonly (readonly number[])[];
  shape: Pick<ModelShape, "layers" | "ff">;
  /** Called after every step. */
  onProgress: (progress: MeasureProgress) => void;
  /** Ends the measurement with the windows that are done by then; a step at work is the runner's to end. */
  signal: AbortSignal;
}

export interface Measurement {
  /** Over whole windows; null when none was done. */
  estimate: Perplexity | null;
  windowsDone: number;
  tokensRead: number;
  seconds: number;
  /** Of all (token, neuron) pairs, those that fired. */
  firedShare: number;
  /** Of all pairs, those that a predictor took for active; 0 without one. */
  predictedShare: number;
}

/**
 * Runs one step after the other in slot 0. What was measured of a window that was not finished is left out, so that an
 * interrupted measurement is that of a shorter text.
 *
 * @throws ThermoclineError as the runner does, when it cannot mend itself; DATA_LOSS for logits that are no numbers
 */
export async function measurePerplexity(runner: StepRunner, options: MeasureOptions): Promise<Measurement> {
  const { windows, shape, onProgress, signal } = options;
  const estimate = new Estimate();
  const activity = new ActivityCounts(shape);
  const startMs = performance.now();
  const seconds = () => (performance.now() - startMs) / 1000;
  let windowsDone = 0;
  let tokensRead = 0;
  const onStep = (rows: number, read: number, timings: Float64Array) => {
    tokensRead += rows;
    activity.add(timings, rows);
    onProgress({
      windowsDone,
      windows: windows.length,
      share: (windowsDone + read) / windows.length,
      seconds: seconds(),
      perplexity: estimate.result?.perplexity ?? null,
    });
  };
  for (const window of windows) {
    const nlls = await readWhole(runner, signal, () => readWindow(runner, window, onStep, signal));
    if (nlls === null) break;
    for (const nll of nlls) estimate.add(nll);
    windowsDone++;
  }
  return {
    estimate: estimate.result,
    windowsDone,
    tokensRead,
    seconds: seconds(),
    firedShare: activity.share("fired"),
    predictedShare: activity.share("predicted"),
  };
}

/** @param read the share of the window that has been read */
type OnStep = (rows: number, read: number, timings: Float64Array) => void;

async function readWindow(
  runner: StepRunner,
  window: readonly number[],
  onStep: OnStep,
  signal: AbortSignal,
): Promise<number[]> {
  const nlls: number[] = [];
  const rows = windowRows(window);
  for (let first = 0; first < rows.length; ) {
    signal.throwIfAborted();
    const step = stepOf(rows, first, runner);
    const { logits, timings } = await runner.run(step);
    const scored = step.flatMap(({ wantsLogits, position }) => (wantsLogits ? [position + 1] : []));
    for (const [index, position] of scored.entries()) {
      // A row of a large vocabulary takes a millisecond, and signals are to be heard in between.
      await nextTurn();
      signal.throwIfAborted();
      nlls.push(nllOf(window[position] ?? 0, logits[index] ?? new Float32Array(), position));
    }
    first += step.length;
    onStep(step.length, first / rows.length, timings);
  }
  return nlls;
}

/** The last token is scored, but what comes after it is not. */
function windowRows(window: readonly number[]): StepRow[] {
  const first = firstScored(window.length);
  return window
    .slice(0, -1)
    .map((token, position) => ({ token, position, slot: 0, wantsLogits: position + 1 >= first }));
}

function nllOf(token: number, logits: Float32Array, position: number): number {
  const nll = -new LogSoftmax(logits).of(token);
  if (Number.isFinite(nll)) return nll;
  throw new ThermoclineError(
    "DATA_LOSS",
    `the logits for the token at position ${position} are not finite numbers; the model is damaged, or its ` +
      "activations exceed what a 32-bit float holds",
  );
}
