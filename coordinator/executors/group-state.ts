/** Where a group of executors stands, and who waits for that to change. */
import { ThermoclineError } from "../../proto/errors.js";

/**
 * ```
 *   starting ──▶ loading ──▶ ready ⇄ recovering ──▶ failed
 * ```
 * Opening leads from starting to ready, or to failed; closing leads to closed from everywhere. Failed and closed are
 * final.
 */
export type GroupState =
  /** Processes are started, or waited for. */
  | { kind: "starting" }
  /** Bytes of weights that were loaded, and that are to be, over all executors. */
  | { kind: "loading"; bytesDone: number; bytesTotal: number }
  /** Steps can be run. */
  | { kind: "ready" }
  /** Steps fail for `reason`; the group mends itself. */
  | { kind: "recovering"; reason: string }
  /** It could not. */
  | { kind: "failed"; error: ThermoclineError }
  | { kind: "closed" };

/** A state that can be waited for. */
export class GroupStatus {
  private current: GroupState = { kind: "starting" };
  private waiters: { resolve: () => void; reject: (error: ThermoclineError) => void }[] = [];

  constructor(private readonly onState: (state: GroupState) => void) {}

  get state(): GroupState {
    return this.current;
  }

  /** Ignored once the state is final. */
  become(state: GroupState): void {
    if (this.isFinal) return;
    this.current = state;
    if (state.kind === "ready" || this.isFinal) {
      const waiters = this.waiters;
      this.waiters = [];
      for (const { resolve, reject } of waiters) {
        if (state.kind === "ready") resolve();
        else reject(this.whyNot());
      }
    }
    this.onState(state);
  }

  /** Resolves when the state is ready; rejects when it never will be. */
  ready(): Promise<void> {
    if (this.current.kind === "ready") return Promise.resolve();
    if (this.isFinal) return Promise.reject(this.whyNot());
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }));
  }

  /** What to tell somebody who wants a step while the state is not ready. */
  whyNot(): ThermoclineError {
    const state = this.current;
    switch (state.kind) {
      case "failed":
        return state.error;
      case "closed":
        return new ThermoclineError("UNAVAILABLE", "the server is shutting down");
      case "recovering":
        return new ThermoclineError(
          "UNAVAILABLE",
          `${state.reason}; the server is bringing its executors back, try again in a moment`,
        );
      default:
        return new ThermoclineError("UNAVAILABLE", "the model is still loading; try again in a moment");
    }
  }

  private get isFinal(): boolean {
    return this.current.kind === "failed" || this.current.kind === "closed";
  }
}
