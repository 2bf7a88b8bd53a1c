/** Where an executor stands. */
import type { Arena, ServeOutcome } from "../native/index.js";
import type { DeviceEngine } from "./device.js";

/** Weights in memory, under the digest of the plan they were loaded by. */
export interface Held {
  digest: string;
  engine: DeviceEngine;
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
  /** The last Load or a step failed for `reason`; the arena was left. */
  | { kind: "failed"; held: Held | null; reason: string };
