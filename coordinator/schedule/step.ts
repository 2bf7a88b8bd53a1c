/** The seam between the batcher and whatever computes steps. */
import type { Candidates, StepRow } from "../../native/index.js";

/** What a step runner can take. */
export interface StepLimits {
  /** Most rows in one step. */
  maxRows: number;
  /** Most rows of one step that may want logits. */
  maxLogitRows: number;
  slots: number;
  /** Positions a slot can hold. */
  contextLength: number;
}

/** What a row may want. */
export type Wanted = "nothing" | "logits" | "candidates";

/** What a step gave. `logits` and `candidates` are overwritten when the next one ends, `timings` when the one after that does. */
export interface StepResult {
  /** The step's number, unique within this arena. */
  step: number;
  /** One array of `vocab` numbers for each row that wanted all its logits, in order. */
  logits: Float32Array[];
  /** For each row that wanted only some of them, in order. */
  candidates: Candidates[];
  /** CLOCK_MONOTONIC nanoseconds around submission and completion. */
  startNs: number;
  endNs: number;
  /** Timing records of this step, laid out as `TIMING_FIELDS` of native/index.ts says. */
  timings: Float64Array;
}

/** Computes one step at a time. */
export interface StepRunner {
  readonly limits: StepLimits;
  /** Another number whenever the slots' caches were lost, also between steps: what was computed before is gone. */
  readonly cacheEpoch: number;
  /**
   * Rejects with a ThermoclineError: UNAVAILABLE when an executor was lost (every slot's cache is gone then), any
   * other code for a defect of the step itself.
   * @param observed whether executors record what they were told to observe; false by default
   */
  run(rows: readonly StepRow[], observed?: boolean): Promise<StepResult>;
  /** Resolves when steps can be run (again); rejects when they never will be. */
  ready(): Promise<void>;
}
