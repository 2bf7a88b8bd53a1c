/** Continuous batching: every request that holds a slot has rows in every step. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Tokenizer } from "../model/tokenizer.js";
import type { Observer } from "../telemetry/observer.js";
import type { FinishReason, GenerationEvent, GenerationRequest } from "./generation.js";
import { stepLayers } from "./layer-summary.js";
import { Sequence } from "./sequence.js";
import type { StepResult, StepRunner } from "./step.js";
import { planStep, type StepPlan } from "./step-plan.js";

export interface BatcherOptions {
  /** Most requests that wait for a slot; the next one is refused. */
  maxQueued: number;
  /** Events a request's reader may be behind; then its slot is left out of steps until it has caught up. */
  maxBacklog: number;
  /** How long requests wait for executors that are away. */
  patienceMs: number;
  /** How long a request whose reader takes nothing keeps its slot. */
  stallMs: number;
}

export const BATCHER_DEFAULTS: BatcherOptions = {
  maxQueued: 64,
  maxBacklog: 32,
  patienceMs: 30_000,
  stallMs: 60_000,
};

/**
 * One loop runs one step after the other. Between a step's end and the next one's start it samples and plans, nothing
 * else: readers are woken, and telemetry is told, while the next step is at work.
 */
export class Batcher {
  private readonly slots: (Sequence | null)[];
  private readonly queue: Sequence[] = [];
  private steps = 0;
  private cacheEpoch: number;
  /** Why no request can be served any more. */
  private stopped: ThermoclineError | null = null;
  /** Wakes the loop while it has nothing to do. */
  private wake: (() => void) | null = null;
  /** Wakes it while it waits for executors. */
  private stopWaiting: (() => void) | null = null;
  private readonly loop: Promise<void>;
  /** What telemetry is yet to be told, in order. */
  private observations: (() => void)[] = [];

  /** @throws ThermoclineError INVALID_ARGUMENT when a step cannot hold a row of every slot */
  constructor(
    private readonly runner: StepRunner,
    private readonly tokenizer: Tokenizer,
    private readonly observer: Observer,
    private readonly options = BATCHER_DEFAULTS,
  ) {
    const { slots, maxRows, maxLogitRows } = runner.limits;
    if (slots < 1 || slots > Math.min(maxRows, maxLogitRows)) {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `there are ${slots} slots, and a step takes ${maxRows} rows, ${maxLogitRows} of them with logits; ` +
          "there must be at least one slot, and no more than either",
      );
    }
    this.slots = Array.from({ length: slots }, () => null);
    this.cacheEpoch = runner.cacheEpoch;
    this.loop = this.run();
  }

  /**
   * Starts a request. Its events have one reader, which ends the request by leaving.
   *
   * The iteration throws CANCELLED or DEADLINE_EXCEEDED (or `signal.reason`, if that is a ThermoclineError) when the
   * request's signal is aborted, UNAVAILABLE when an executor is lost, INTERNAL when a step fails otherwise.
   * @throws ThermoclineError INVALID_ARGUMENT, RESOURCE_EXHAUSTED; UNAVAILABLE after {@link close}
   */
  generate(request: GenerationRequest): AsyncIterable<GenerationEvent> {
    if (this.stopped !== null) throw this.stopped;
    this.checkPrompt(request.promptTokens.length);
    this.checkQueue();
    const sequence = new Sequence(request, {
      tokenizer: this.tokenizer,
      observer: this.observer.request(request.traceContext, request.promptTokens.length),
      contextLength: this.runner.limits.contextLength,
      maxBacklog: this.options.maxBacklog,
      stallMs: this.options.stallMs,
      onTaken: () => this.wake?.(),
      onEnded: (ended, outcome) => this.onEnded(ended, outcome),
    });
    this.queue.push(sequence);
    sequence.onAbort();
    this.wake?.();
    return sequence.events;
  }

  /**
   * Ends every request with UNAVAILABLE, at once.
   * @returns when the step at hand is over
   */
  close(): Promise<void> {
    this.stop(new ThermoclineError("UNAVAILABLE", "the server is shutting down"));
    return this.loop;
  }

  private checkPrompt(tokens: number): void {
    const { contextLength } = this.runner.limits;
    if (tokens === 0) {
      throw new ThermoclineError("INVALID_ARGUMENT", "the prompt has no tokens; give at least one");
    }
    if (tokens >= contextLength) {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `the prompt has ${tokens} tokens, and the context of ${contextLength} must hold at least one more; ` +
          `shorten the prompt to ${contextLength - 1} tokens or serve with a larger --ctx`,
      );
    }
  }

  private checkQueue(): void {
    const { maxQueued } = this.options;
    const free = this.slots.filter((slot) => slot === null || slot.ended).length;
    if (this.queue.length >= maxQueued + free) {
      throw new ThermoclineError(
        "RESOURCE_EXHAUSTED",
        `${this.queue.length} requests already wait for one of ${this.slots.length} slots, and at most ${maxQueued} ` +
          "may; try again later, or serve with more --slots",
      );
    }
  }

  private async run(): Promise<void> {
    while (this.stopped === null) {
      // With nobody in a slot nothing can be lost: those who wait may as well wait for lost executors to come back.
      if (this.occupants().length === 0 && this.queue.length > 0) await this.untilReady();
      this.checkCaches();
      this.freeSlots();
      this.admit();
      const plan = planStep(this.occupants(), this.runner.limits.maxRows, this.steps++);
      if (plan.rows.length > 0) await this.runStep(plan);
      else if (this.stopped === null) await this.untilWoken();
    }
  }

  /** Requests that rested while an executor was lost have seen no step fail. */
  private checkCaches(): void {
    if (this.cacheEpoch === this.runner.cacheEpoch) return;
    this.cacheEpoch = this.runner.cacheEpoch;
    this.failAll(
      new ThermoclineError(
        "UNAVAILABLE",
        "an executor was lost and is back, but what it remembered of this request is gone; try again",
      ),
    );
  }

  /** Requests in slots that go on. */
  private occupants(): Sequence[] {
    return this.slots.filter((sequence) => sequence !== null).filter((sequence) => !sequence.ended);
  }

  /** Ends the requests in slots. */
  private failAll(error: ThermoclineError): void {
    for (const sequence of this.occupants()) sequence.fail(error);
  }

  private freeSlots(): void {
    for (const [slot, occupant] of this.slots.entries()) if (occupant?.ended) this.slots[slot] = null;
  }

  /** Gives free slots to those who waited longest. */
  private admit(): void {
    for (const [slot, occupant] of this.slots.entries()) {
      if (occupant !== null) continue;
      const next = this.queue.shift();
      if (next === undefined) return;
      this.slots[slot] = next;
      next.admit(slot);
      this.observe(() => next.observer.admitted());
    }
  }

  private async runStep(plan: StepPlan): Promise<void> {
    let result: StepResult;
    try {
      result = await this.runner.run(plan.rows);
    } catch (error) {
      this.failAll(asStepError(error));
      return;
    }
    this.settle(plan, result);
  }

  private settle({ shares }: StepPlan, result: StepResult): void {
    // The step before must be told of while its timings are still there.
    this.tell();
    this.observe(() => this.observer.step(result, shares));
    const decoding = shares.filter(({ sequence, stage }) => stage === "decode" && sequence.wantsLayers);
    if (decoding.length > 0) {
      const layers = stepLayers(result.timings);
      for (const { sequence } of decoding) sequence.addLayers(layers);
    }
    const { logits, candidates } = result;
    const places = { logits: 0, candidates: 0 };
    for (const { sequence, wanted, stage } of shares) {
      if (wanted === "nothing") continue;
      const given = wanted === "logits" ? logits[places.logits++] : candidates[places.candidates++];
      if (sequence.ended) continue;
      if (stage === "prefill") this.observe(() => sequence.observer.firstToken());
      try {
        if (given === undefined) {
          throw new Error(
            `step ${result.step} gave ${logits.length} rows of logits, ${candidates.length} of candidates`,
          );
        }
        sequence.accept(given);
      } catch (error) {
        sequence.fail(asStepError(error));
      }
    }
  }

  private onEnded(sequence: Sequence, outcome: FinishReason | Error): void {
    const place = this.queue.indexOf(sequence);
    if (place >= 0) this.queue.splice(place, 1);
    this.observe(() =>
      sequence.observer.finished(outcome, sequence.promptTokens.length, sequence.generatedTokens),
    );
    this.wake?.();
  }

  private async untilWoken(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.wake = resolve;
    });
    this.wake = null;
  }

  /** Ends the requests that wait when executors stay away for too long. */
  private async untilReady(): Promise<void> {
    const { patienceMs } = this.options;
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.stopWaiting = resolve;
      timer = setTimeout(() => {
        this.failQueued(
          new ThermoclineError(
            "UNAVAILABLE",
            `no step could be run for ${patienceMs / 1000} s because executors are away or still load; the server's ` +
              "log says which, and requests are answered when they are back",
          ),
        );
        resolve();
      }, patienceMs);
      this.runner.ready().then(resolve, (error: unknown) => {
        this.stop(asStepError(error));
        resolve();
      });
    });
    clearTimeout(timer);
    this.stopWaiting = null;
  }

  private failQueued(error: ThermoclineError): void {
    for (const sequence of [...this.queue]) sequence.fail(error);
  }

  private stop(error: ThermoclineError): void {
    if (this.stopped !== null) return;
    this.stopped = error;
    this.failAll(error);
    this.failQueued(error);
    this.stopWaiting?.();
    this.wake?.();
  }

  /** Tells telemetry something, after everything that is ready to run by then, readers of tokens among it. */
  private observe(observation: () => void): void {
    if (this.observations.push(observation) > 1) return;
    setImmediate(() => this.tell());
  }

  private tell(): void {
    const observations = this.observations;
    this.observations = [];
    for (const observation of observations) observation();
  }
}

function asStepError(error: unknown): ThermoclineError {
  if (error instanceof ThermoclineError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ThermoclineError("INTERNAL", `the step failed: ${message}`, { cause: error });
}
