/** Where an executor stands. */
import type { Arena, Exchange, ServeOutcome } from "../native/index.js";
import type { DeviceEngine } from "./device.js";

/** Weights in memory, under the digest of the plan that a Load of them would have. */
export class Held {
  /** What the digest is once the exchange that was staged last has been applied. */
  private next: string | null = null;
  /** Settles when the exchange being staged has been; they are staged one after the other. */
  private staging: Promise<unknown> = Promise.resolve();

  constructor(
    private loaded: string,
    readonly engine: DeviceEngine,
  ) {}

  get digest(): string {
    return this.next !== null && this.engine.exchanged ? this.next : this.loaded;
  }

  /**
   * Stages an exchange. @returns bytes that the step which names it will copy
   * @param digest of the plan afterwards
   * @throws NativeError as the engine does; nothing is staged then
   */
  stage(exchange: Exchange, digest: string, signal: AbortSignal): Promise<number> {
    const staged = this.staging.then(async () => {
      signal.throwIfAborted();
      this.loaded = this.digest;
      this.next = null;
      const bytes = await this.engine.stage(exchange, signal);
      this.next = digest;
      return bytes;
    });
    this.staging = staged.catch(() => null);
    return staged;
  }
}

/** A step loop that runs; `ended` resolves when it has left the arena. */
export interface Serving {
  arena: Arena;
  ended: Promise<ServeOutcome>;
}

/**
 * ```
 *   idle ──Load──▶ loading ──loaded──▶ serving
 *    ▲               │  ▲ ◀───Load─────┘ │
 *    │   error, cancel│  │Load            │a step failed
 *    │               ▼  │                ▼
 *    └────Drain──── failed ◀─────────────┘      (Drain leads to idle from everywhere)
 * ```
 * Weights outlive a failure: a Load with the same digest finds them in `failed.held`.
 */
export type State =
  /** Nothing is held. */
  | { kind: "idle" }
  /** A Load is at work. */
  | { kind: "loading"; held: Held | null }
  /** Steps are computed as they come. */
  | { kind: "serving"; held: Held; serving: Serving }
  /** The last Load or a step failed for `reason`; the arena was left. Only another process can open a lost device. */
  | { kind: "failed"; held: Held | null; reason: string; deviceLost: boolean };
