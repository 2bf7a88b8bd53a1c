/** Reading windows of a text on executors: the sizes, the steps, and what happens when executors are lost. */
import type { StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import type { ServingSizes } from "../placement/sizes.js";
import type { StepLimits, StepRunner } from "../schedule/step.js";
import { limitsFor } from "../serving-defaults.js";

/** That of llama.cpp's perplexity tool. */
const DEFAULT_CONTEXT = 512;
/** How often a window is read at most, when executors are lost and come back. */
const MOST_ATTEMPTS = 3;

/**
 * For one window at a time.
 *
 * @param contextLength tokens of a window; null takes 512, or the model's context if that is less
 * @throws ThermoclineError INVALID_ARGUMENT for a context the model was not made for
 */
export function readingLimits(model: Model, contextLength: number | null): StepLimits & ServingSizes {
  return limitsFor(model, {
    slots: 1,
    contextLength: contextLength ?? Math.min(model.trainedContextLength, DEFAULT_CONTEXT),
  });
}

/** As many rows from `first` on as the runner takes in one step. */
export function stepOf(
  rows: readonly StepRow[],
  first: number,
  { limits }: Pick<StepRunner, "limits">,
): StepRow[] {
  const step: StepRow[] = [];
  let logitRows = 0;
  for (const row of rows.slice(first, first + limits.maxRows)) {
    if (row.wantsLogits && ++logitRows > limits.maxLogitRows) break;
    step.push(row);
  }
  return step;
}

/**
 * Reads one window from its start, and again when executors were lost in it and are back.
 *
 * @param read what it gave of a window that was lost is forgotten
 * @returns null when the signal was aborted
 * @throws what `read` or the runner throws otherwise
 */
export async function readWhole<T>(
  runner: Pick<StepRunner, "ready">,
  signal: AbortSignal,
  read: () => Promise<T>,
): Promise<T | null> {
  for (let attempt = 1; ; attempt++) {
    if (signal.aborted) return null;
    try {
      return await read();
    } catch (error) {
      if (signal.aborted) return null;
      const isLost = error instanceof ThermoclineError && error.code === "UNAVAILABLE";
      if (!isLost || attempt === MOST_ATTEMPTS) throw error;
      await runner.ready();
    }
  }
}
