/** Reads windows of texts with a model and counts which neurons fire. */
import type { Arena, FiredCounts } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { StepRunner } from "../schedule/step.js";
import { readWhole, stepOf } from "../text/read-window.js";
import type { ActivationProfile, ProfileSource } from "./activation-profile.js";

/** How often what has been counted is saved. */
const SAVE_EVERY_MS = 5000;

/** A step runner whose observed steps leave counts. */
export interface CountingRunner extends StepRunner {
  /** Between steps. @returns null when executors are away */
  observed<T>(read: (steps: Pick<Arena, "takeCounts">) => T): T | null;
}

/** A text, and those of its windows that have not been read. */
export interface UnreadText {
  source: ProfileSource;
  windows: readonly (readonly number[])[];
}

export interface CountProgress {
  text: string;
  tokensRead: number;
  /** Of all texts' windows. */
  tokens: number;
  /** So far. */
  seconds: number;
}

export interface CountOptions {
  profile: ActivationProfile;
  texts: readonly UnreadText[];
  /** Keeps the profile as it is by then. */
  save: () => Promise<void>;
  /** Called after every step. */
  onProgress: (progress: CountProgress) => void;
  /** Ends it after the windows that are done; a step at work is the runner's to end. */
  signal: AbortSignal;
}

/**
 * Adds whole windows to the profile, each at once, and saves it now and then and at the end: whatever ends it, what is
 * saved is the profile of the windows by then, and going on from there gives what one run would have given.
 *
 * @throws ThermoclineError as the runner does, when it cannot mend itself, or `save`
 */
export async function countWindows(runner: CountingRunner, options: CountOptions): Promise<CountProgress> {
  const { profile, texts, save, onProgress, signal } = options;
  const startMs = performance.now();
  const progress: CountProgress = { text: "", tokensRead: 0, tokens: tokensOf(texts), seconds: 0 };
  const onStep = (rows: number) => {
    progress.tokensRead += rows;
    progress.seconds = (performance.now() - startMs) / 1000;
    onProgress({ ...progress });
  };
  let savedMs = startMs;
  let isSaved = true;
  try {
    for (const { source, windows } of texts) {
      progress.text = source.name;
      for (const window of windows) {
        const counts = await readWhole(runner, signal, () => countWindow(runner, window, onStep, signal));
        if (counts === null) return progress;
        profile.add(source, { ...counts, tokens: window.length });
        source.windows++;
        isSaved = false;
        if (performance.now() - savedMs < SAVE_EVERY_MS) continue;
        await save();
        isSaved = true;
        savedMs = performance.now();
      }
    }
  } finally {
    if (!isSaved) await save();
  }
  return progress;
}

function tokensOf(texts: readonly UnreadText[]): number {
  return texts.reduce((sum, { windows }) => windows.reduce((tokens, { length }) => tokens + length, sum), 0);
}

async function countWindow(
  runner: CountingRunner,
  window: readonly number[],
  onStep: (rows: number) => void,
  signal: AbortSignal,
): Promise<FiredCounts> {
  const rows = window.map((token, position) => ({ token, position, slot: 0, wantsLogits: false }));
  // What a window left that was given up.
  take(runner);
  for (let first = 0; first < rows.length; ) {
    signal.throwIfAborted();
    const step = stepOf(rows, first, runner);
    await runner.run(step, true);
    first += step.length;
    onStep(step.length);
  }
  return take(runner);
}

function take(runner: CountingRunner): FiredCounts {
  const counts = runner.observed((steps) => steps.takeCounts());
  if (counts !== null) return counts;
  throw new ThermoclineError("UNAVAILABLE", "an executor was lost with what it had counted");
}
