/** The executors of one stack as one thing that runs steps, and that mends itself. */
import {
  type Arena,
  type LayerExchange,
  monotonicNs,
  type Schedule,
  type StepFailure,
  type StepRow,
  sweepArenas,
} from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { StepLimits, StepResult, StepRunner } from "../schedule/step.js";
import { backoffMs, pause } from "./backoff.js";
import { toThermoclineError } from "./errors.js";
import { type ExchangeResult, Exchanges } from "./exchange.js";
import type { GroupOptions, ObservedSteps, Placement } from "./group-options.js";
import { type GroupState, GroupStatus } from "./group-state.js";
import { allOrAbort, loadAll } from "./load.js";
import { type ExecutorInfo, Member } from "./member.js";
import { createRuntimeFolder, removeRuntimeFolder } from "./runtime-folder.js";

export {
  GROUP_DEFAULTS,
  type GroupOptions,
  type ObservedSteps,
  type Placement,
  type Planner,
} from "./group-options.js";

/** After so many failures in a row the group gives up. */
const MOST_FAILURES_IN_A_ROW = 5;
/** A group that was ready for this long was well, even if no step came; what fails then starts a new row. */
const WELL_AFTER_MS = 30_000;

export class ExecutorGroup implements StepRunner {
  readonly limits: StepLimits;
  private readonly members: Member[];
  /** For the sockets of spawned executors; made for the first of them. */
  private folder: string | null = null;
  private readonly status: GroupStatus;
  private readonly closed = new AbortController();
  private arena: Arena | null = null;
  private placed: Placement | null = null;
  private readonly exchanges: Exchanges;
  /** The step at hand, until everything of it has been read from the arena. */
  private inFlight: Promise<StepResult> | null = null;
  /** The bring-up at work; aborted when a member is lost meanwhile. */
  private attempt: AbortController | null = null;
  private recovery: Promise<void> = Promise.resolve();
  private closing: Promise<void> | null = null;
  private failuresInARow = 0;
  private bringUps = 0;
  private readySince = 0;

  constructor(private readonly options: GroupOptions) {
    const { executors, limits, log, onExecutorLog, onState } = options;
    this.limits = limits;
    this.status = new GroupStatus(onState);
    const onLost = (what: string) => this.onLost(what);
    const folder = () => {
      this.folder ??= createRuntimeFolder();
      return this.folder;
    };
    this.members = executors.map(
      ({ name, source }) => new Member({ name, source, folder, log, onLog: onExecutorLog, onLost }),
    );
    this.exchanges = new Exchanges(this.members, options.model, limits);
  }

  get state(): GroupState {
    return this.status.state;
  }

  get cacheEpoch(): number {
    return this.bringUps;
  }

  /** Null until the first load; the last known one while recovering. */
  get placement(): Placement | null {
    return this.placed;
  }

  /**
   * Gets every executor, plans, and loads. Nothing is left behind when it rejects.
   * @throws ThermoclineError that names the executor at fault
   */
  async open(): Promise<void> {
    try {
      for (const name of sweepArenas()) this.options.log.info({ name }, "removed the arena of a dead stack");
      await this.bringUp(this.options.connectTimeoutMs);
    } catch (error) {
      const failure = toThermoclineError(error);
      await this.shutDown();
      this.status.become({ kind: "failed", error: failure });
      throw failure;
    }
  }

  async run(rows: readonly StepRow[], observed = false): Promise<StepResult> {
    if (this.state.kind !== "ready" || this.arena === null) throw this.status.whyNot();
    if (this.inFlight !== null) throw new ThermoclineError("INTERNAL", "a step is at work already");
    this.inFlight = this.runStep(this.arena, rows, observed);
    try {
      return await this.inFlight;
    } finally {
      this.inFlight = null;
    }
  }

  /**
   * Has neurons change places while steps run; the step after all executors have read their weights applies it. One at a
   * time.
   * @throws ThermoclineError INVALID_ARGUMENT or UNIMPLEMENTED for what cannot be exchanged, UNAVAILABLE when an executor
   * was lost meanwhile
   */
  async exchange(layers: readonly LayerExchange[]): Promise<ExchangeResult> {
    if (this.state.kind !== "ready" || this.placed === null) throw this.status.whyNot();
    return this.exchanges.run(layers, this.placed.schedule);
  }

  /** Reads what observed steps left, between steps. @returns null when executors are away */
  observed<T>(read: (steps: ObservedSteps) => T): T | null {
    if (this.state.kind !== "ready" || this.arena === null) return null;
    try {
      return read(this.arena);
    } catch (error) {
      throw toThermoclineError(error);
    }
  }

  ready(): Promise<void> {
    return this.status.ready();
  }

  /** Ends what this group started and drains what others did, within 2 s. Idempotent. */
  close(): Promise<void> {
    this.status.become({ kind: "closed" });
    this.closing ??= this.shutDown();
    return this.closing;
  }

  private async runStep(arena: Arena, rows: readonly StepRow[], observed: boolean): Promise<StepResult> {
    try {
      const startNs = monotonicNs();
      const exchange = this.exchanges.next;
      const step = arena.submit(rows, observed, exchange?.number);
      // Also if the step fails: who lives on has applied it, or loads anew.
      if (exchange !== null && this.placed !== null) {
        this.placed = { ...this.placed, schedule: exchange.schedule };
      }
      const failure = await arena.wait(step, this.options.stepTimeoutMs);
      const endNs = monotonicNs();
      if (failure !== null) throw this.stepFailed(step, failure);
      this.failuresInARow = 0;
      const wanting = rows.filter((row) => row.wantsLogits);
      const logits = wanting.filter((row) => !row.candidates).map((_, index) => arena.logits(index));
      const candidates = wanting.filter((row) => row.candidates).map((_, index) => arena.candidates(index));
      const { records, lost } = arena.drainTimings();
      if (lost > 0) this.options.log.warn({ step, lost }, "timing records were overwritten unread");
      if (exchange !== null) this.exchanges.ended(step, records);
      return { step, logits, candidates, startNs, endNs, timings: records };
    } catch (error) {
      throw toThermoclineError(error);
    }
  }

  /** The error for the step's requests. Starts the recovery, unless the loss of an executor has done so already. */
  private stepFailed(step: number, { executor, code, message }: StepFailure): ThermoclineError {
    const culprit = this.members[executor];
    const timedOut = code === "timed-out";
    if (culprit !== undefined) this.recover(`${culprit.label} failed: ${message}`, timedOut);
    else if (timedOut) {
      this.recover(`step ${step} did not end within ${this.options.stepTimeoutMs / 1000} s`, timedOut);
    } else this.recover(message, false);
    return this.status.whyNot();
  }

  private onLost(what: string): void {
    if (this.attempt !== null) this.attempt.abort(new ThermoclineError("UNAVAILABLE", what));
    else this.recover(what, false);
  }

  /** @param findHung whether an executor may hang in the arena for ever */
  private recover(reason: string, findHung: boolean): void {
    if (this.state.kind !== "ready") return;
    this.status.become({ kind: "recovering", reason });
    this.arena?.abort(reason);
    this.exchanges.abandon(this.status.whyNot());
    if (Date.now() - this.readySince > WELL_AFTER_MS) this.failuresInARow = 0;
    this.recovery = this.runRecovery(new ThermoclineError("UNAVAILABLE", reason), findHung);
  }

  private async runRecovery(cause: ThermoclineError, findHung: boolean): Promise<void> {
    if (findHung) await Promise.all(this.members.map((member) => member.leaveOrDie()));
    for (let failure = cause; !this.closed.signal.aborted; ) {
      if (this.isHopeless(failure)) {
        this.status.become({ kind: "failed", error: giveUp(failure) });
        return;
      }
      try {
        await pause(backoffMs(this.failuresInARow++), this.closed.signal);
        await this.bringUp(null);
        return;
      } catch (error) {
        failure = toThermoclineError(error);
        if (!this.closed.signal.aborted)
          this.options.log.error({ reason: failure.message }, "still recovering");
      }
    }
  }

  /** Executors that others start may come and go as often as they like. */
  private isHopeless({ code }: ThermoclineError): boolean {
    if (code === "UNAVAILABLE" && !this.members.some((member) => member.isSpawned)) return false;
    return this.failuresInARow >= MOST_FAILURES_IN_A_ROW;
  }

  /** @param waitMs how long to wait for executors that others start; null waits for ever */
  private async bringUp(waitMs: number | null): Promise<void> {
    const { model, limits, observation, loadTimeoutMs } = this.options;
    const attempt = new AbortController();
    this.attempt = attempt;
    const onClosed = () => attempt.abort(this.closed.signal.reason);
    this.closed.signal.addEventListener("abort", onClosed);
    try {
      if (this.closed.signal.aborted) onClosed();
      await this.discardArena();
      const infos = await allOrAbort(this.members, attempt, (member) => member.join(attempt.signal, waitMs));
      const schedule = await this.schedule(infos);
      attempt.signal.throwIfAborted();
      const { arena, executors } = await loadAll(this.members, infos, attempt, {
        model,
        limits,
        schedule,
        observation,
        timeoutMs: loadTimeoutMs,
        onProgress: (bytesDone, bytesTotal) => this.onProgress(bytesDone, bytesTotal),
      });
      this.arena = arena;
      attempt.signal.throwIfAborted();
      this.placed = { schedule, executors };
      this.readySince = Date.now();
      this.bringUps++;
      this.status.become({ kind: "ready" });
    } finally {
      this.closed.signal.removeEventListener("abort", onClosed);
      this.attempt = null;
    }
  }

  /** The same executors, restarted, get the schedule they had: planning may take long, and weights stay this way. */
  private async schedule(infos: readonly ExecutorInfo[]): Promise<Schedule> {
    const known = this.placed?.executors;
    const isKnown = infos.every(({ kind, device, card, budgetBytes, threads }, index) => {
      const before = known?.[index];
      return (
        before?.kind === kind &&
        before.device === device &&
        before.card === card &&
        before.budgetBytes === budgetBytes &&
        before.threads === threads
      );
    });
    return isKnown && this.placed !== null ? this.placed.schedule : this.options.plan(infos);
  }

  private onProgress(bytesDone: number, bytesTotal: number): void {
    if (this.state.kind === "recovering") return;
    this.status.become({ kind: "loading", bytesDone, bytesTotal });
  }

  private async shutDown(): Promise<void> {
    this.closed.abort(new ThermoclineError("UNAVAILABLE", "the server is shutting down"));
    this.arena?.abort("the server is shutting down");
    this.exchanges.abandon(this.status.whyNot());
    await Promise.all([this.recovery, ...this.members.map((member) => member.close())]);
    await this.discardArena();
    if (this.folder !== null) removeRuntimeFolder(this.folder);
  }

  /** Closes the arena once nobody reads from it. */
  private async discardArena(): Promise<void> {
    const { arena } = this;
    this.arena = null;
    arena?.abort("the arena was replaced");
    await this.inFlight?.catch(() => null);
    arena?.close();
  }
}

function giveUp(last: ThermoclineError): ThermoclineError {
  return new ThermoclineError(
    last.code,
    `the executors failed ${MOST_FAILURES_IN_A_ROW} times in a row, so the server has given up: ${last.message}`,
    { cause: last },
  );
}
