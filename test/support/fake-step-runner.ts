/** A step runner whose logits follow from the tokens a slot has seen, so that any mix-up changes the output. */
import type { StepLimits, StepResult, StepRunner } from "../../coordinator/schedule/step.js";
import type { Candidates, StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { Random } from "./random.js";

export const FAKE_VOCABULARY = 32;

/** The logits after a slot's history: a pure function, different for every history. */
export function fakeLogits(history: readonly number[]): Float32Array {
  const seed = history.reduce((hash, token) => Math.imul(hash ^ (token + 1), 0x01000193), 0x811c9dc5);
  const random = new Random(seed ^ history.length);
  return Float32Array.from({ length: FAKE_VOCABULARY }, () => 4 * random.symmetric());
}

/** The candidates that executors would give, NaNs before everything. */
export function highest(logits: Float32Array, count: number): Candidates {
  const rank = (id: number) => {
    const logit = logits[id] ?? 0;
    return Number.isNaN(logit) ? Number.POSITIVE_INFINITY : logit;
  };
  const tokens = Int32Array.from(logits.keys())
    .sort((a, b) => (rank(a) === rank(b) ? a - b : rank(b) - rank(a)))
    .slice(0, count);
  return { tokens, logits: Float32Array.from(tokens, (id) => logits[id] ?? 0) };
}

export class FakeStepRunner implements StepRunner {
  cacheEpoch = 0;
  /** The rows of every step that was asked for. */
  readonly steps: StepRow[][] = [];
  /** What the next steps end with; null is success. */
  readonly outcomes: (ThermoclineError | null)[] = [];
  /** Steps from this number on wait for {@link release}. */
  holdFrom = Number.POSITIVE_INFINITY;
  /** What the steps' results say of times. */
  timings = new Float64Array(0);
  private readonly histories: number[][];
  private letGo: (() => void) | null = null;
  private lost = false;
  private giveUp: ThermoclineError | null = null;
  private waiters: { resolve: () => void; reject: (error: Error) => void }[] = [];

  constructor(readonly limits: StepLimits) {
    this.histories = Array.from({ length: limits.slots }, () => []);
  }

  async run(rows: readonly StepRow[]): Promise<StepResult> {
    if (this.lost) throw new ThermoclineError("UNAVAILABLE", "the executors are not back yet");
    this.check(rows);
    this.steps.push(structuredClone([...rows]));
    const step = this.steps.length;
    const startNs = performance.now() * 1e6;
    await new Promise((resolve) => setImmediate(resolve));
    if (step >= this.holdFrom) {
      await new Promise<void>((resolve) => {
        this.letGo = resolve;
      });
    }
    const outcome = this.outcomes.shift() ?? null;
    if (outcome !== null) {
      if (outcome.code === "UNAVAILABLE") this.loseCaches();
      throw outcome;
    }
    const logits: Float32Array[] = [];
    const candidates: Candidates[] = [];
    for (const { slot, token, wantsLogits, candidates: count = 0 } of rows) {
      const history = this.histories[slot] ?? [];
      history.push(token);
      if (!wantsLogits) continue;
      if (count === 0) logits.push(fakeLogits(history));
      else candidates.push(highest(fakeLogits(history), count));
    }
    return { step, logits, candidates, startNs, endNs: performance.now() * 1e6, timings: this.timings };
  }

  ready(): Promise<void> {
    if (this.giveUp !== null) return Promise.reject(this.giveUp);
    if (!this.lost) return Promise.resolve();
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  /** Lets the held step end, and holds no more. */
  release(): void {
    this.holdFrom = Number.POSITIVE_INFINITY;
    this.letGo?.();
    this.letGo = null;
  }

  loseCaches(): void {
    this.lost = true;
    for (const history of this.histories) history.length = 0;
  }

  recover(): void {
    this.lost = false;
    this.cacheEpoch++;
    for (const { resolve } of this.waiters.splice(0)) resolve();
  }

  failForGood(error: ThermoclineError): void {
    this.lost = true;
    this.giveUp = error;
    for (const { reject } of this.waiters.splice(0)) reject(error);
  }

  /** What every step must hold to; a violation fails the step, and with it the test. */
  private check(rows: readonly StepRow[]): void {
    const { maxRows, maxLogitRows, slots, contextLength } = this.limits;
    const wanting = rows.filter((row) => row.wantsLogits);
    if (rows.length === 0 || rows.length > maxRows) throw new Error(`${rows.length} rows in a step`);
    if (wanting.length > maxLogitRows) throw new Error(`${wanting.length} rows want logits`);
    if (new Set(wanting.map((row) => row.slot)).size < wanting.length)
      throw new Error("a slot wants logits twice");
    for (const slot of new Set(rows.map((row) => row.slot))) {
      const own = rows.filter((row) => row.slot === slot);
      const first = own[0]?.position ?? -1;
      const history = this.histories[slot];
      if (history === undefined || slot >= slots) throw new Error(`there is no slot ${slot}`);
      if (first === 0) history.length = 0;
      own.forEach((row, index) => {
        if (row.position !== history.length + index)
          throw new Error(`slot ${slot} has a gap at ${row.position}`);
        if (row.position >= contextLength)
          throw new Error(`position ${row.position} is outside of the context`);
        if (row.token < 0 || row.token >= FAKE_VOCABULARY) throw new Error(`there is no token ${row.token}`);
        if (row.wantsLogits && index < own.length - 1)
          throw new Error("a row that is not the last wants logits");
      });
    }
  }
}
