/** One executor's life: loads by order, serves an arena, and lets go again. Knows nothing of gRPC. */
import type { Logger } from "pino";
import type { Arena, LoadedEngine, ServeOutcome } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import type { Device, Progress } from "./device.js";
import { toThermoclineError } from "./errors.js";
import type { ExchangeOrder } from "./exchange-order.js";
import type { LoadOrder } from "./plan.js";
import { Held, type State } from "./state.js";

/** How long a step at hand may go on once a Load or Drain wants the executor out of its arena. */
const STEP_GRACE_MS = 1000;

export class Executor {
  private current: State = { kind: "idle" };
  /** Ends the Load or Drain at work; a newer one takes its place. */
  private interrupt = new AbortController();
  /** Settles when the Load or Drain at work has ended; they run one after the other. */
  private turn: Promise<unknown> = Promise.resolve();

  /**
   * @param attach joins an arena
   * @param onState called after every change of state
   */
  constructor(
    readonly device: Device,
    private readonly attach: (name: string, epoch: bigint) => Arena,
    private readonly log: Logger,
    private readonly onState: (state: State) => void,
  ) {}

  get state(): State {
    return this.current;
  }

  /** Steps computed since the weights were loaded. */
  get steps(): number {
    return this.current.kind === "serving" ? this.current.held.engine.steps : 0;
  }

  /**
   * Makes the executor serve the order's arena; resolves once it does. Replaces a Load at work, which then fails with
   * ABORTED. Weights of the same digest stay where they are; others are freed before new memory is taken.
   *
   * @param signal cancels the load; its reason is what the returned promise rejects with
   * @throws ThermoclineError with one of the codes that ExecutorService.Load names
   */
  load(order: LoadOrder, onProgress: Progress, signal: AbortSignal): Promise<LoadedEngine> {
    return this.inTurn("a newer Load took this one's place", signal, async (interrupted) => {
      let held = await this.leaveArena(STEP_GRACE_MS);
      this.become({ kind: "loading", held });
      try {
        const arena = this.attach(order.arena.name, order.arena.epoch);
        try {
          if (held !== null && held.digest !== order.digest) {
            const old = held.engine;
            held = null;
            await old.close();
          }
          if (held === null) {
            const engine = await this.device.load(order.plan, onProgress, interrupted);
            held = new Held(order.digest, engine);
          }
          interrupted.throwIfAborted();
        } catch (error) {
          arena.close();
          throw error;
        }
        this.serve(held, arena, order.plan.executor);
        return held.engine.info;
      } catch (error) {
        const failure = toThermoclineError(interrupted.aborted ? interrupted.reason : error);
        this.become({ kind: "failed", held, reason: failure.message, deviceLost: false });
        throw failure;
      }
    });
  }

  /**
   * Stages an exchange while steps run. @returns bytes that the step which names it will copy
   * @param signal cancels it; its reason is what the returned promise rejects with
   * @throws ThermoclineError with one of the codes that ExecutorService.StageExchange names
   */
  async stage({ exchange, digest }: ExchangeOrder, signal: AbortSignal): Promise<number> {
    if (this.current.kind !== "serving") {
      throw new ThermoclineError(
        "FAILED_PRECONDITION",
        `this executor is ${this.current.kind} and serves no steps, so it has no neurons to exchange: load it first`,
      );
    }
    const either = AbortSignal.any([this.interrupt.signal, signal]);
    try {
      return await this.current.held.stage(exchange, digest, either);
    } catch (error) {
      throw toThermoclineError(either.aborted ? either.reason : error);
    }
  }

  /**
   * Leaves the arena and frees the weights. Ends a Load at work with ABORTED.
   * @param graceMs how long the step at hand may go on before it is given up
   */
  drain(graceMs: number = STEP_GRACE_MS): Promise<void> {
    return this.inTurn("a Drain ended this Load", null, async () => {
      const held = await this.leaveArena(graceMs);
      this.become({ kind: "idle" });
      await held?.engine.close();
    });
  }

  private async inTurn<T>(
    reason: string,
    signal: AbortSignal | null,
    work: (interrupted: AbortSignal) => Promise<T>,
  ): Promise<T> {
    this.interrupt.abort(new ThermoclineError("ABORTED", reason));
    this.interrupt = new AbortController();
    const interrupted =
      signal === null ? this.interrupt.signal : AbortSignal.any([this.interrupt.signal, signal]);
    const result = this.turn.then(() => {
      interrupted.throwIfAborted();
      return work(interrupted);
    });
    this.turn = result.catch(() => null);
    return result;
  }

  private serve(held: Held, arena: Arena, executor: number): void {
    const ended = this.runSteps(held, arena, executor);
    const serving = { arena, ended };
    this.become({ kind: "serving", held, serving });
    void ended.then((outcome) => {
      if (outcome.kind === "closed") return;
      const { code, message } = outcome.failure;
      if (code === "aborted") this.log.info({ reason: message }, "the arena was given up");
      else this.log.error({ code, reason: message }, "a step failed");
      if (this.current.kind === "serving" && this.current.serving === serving) {
        const isOwn = code !== "aborted" && outcome.failure.executor === executor;
        this.become({ kind: "failed", held, reason: message, deviceLost: isOwn && this.device.endsWithStep });
      }
    });
  }

  private async runSteps(held: Held, arena: Arena, executor: number): Promise<ServeOutcome> {
    try {
      return await held.engine.serve(arena);
    } catch (error) {
      const { message } = toThermoclineError(error);
      arena.abort(message);
      return { kind: "failed", failure: { executor, code: "internal", message } };
    } finally {
      arena.close();
    }
  }

  /** @returns what is still held */
  private async leaveArena(graceMs: number): Promise<Held | null> {
    if (this.current.kind === "idle") return null;
    if (this.current.kind !== "serving") return this.current.held;
    const { held, serving } = this.current;
    held.engine.stop();
    const giveUp = setTimeout(
      () => serving.arena.abort("an executor left the arena in the middle of a step"),
      graceMs,
    );
    await serving.ended;
    clearTimeout(giveUp);
    return held;
  }

  private become(state: State): void {
    this.current = state;
    this.onState(state);
  }
}
