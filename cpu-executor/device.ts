/** What computes for an executor, and the CPU as such a thing. */
import {
  type Arena,
  Engine,
  type EngineOptions,
  type EnginePlan,
  type Exchange,
  type ExecutorKind,
  type LoadedEngine,
  type ServeOutcome,
} from "../native/index.js";
import type { CardDevice } from "../native/libraries.js";

export type Progress = (bytesDone: number, bytesTotal: number) => void;

/** Loaded weights that can serve an arena; the part of {@link Engine} an executor uses. */
export interface DeviceEngine {
  readonly info: LoadedEngine;
  readonly steps: number;
  /** Whether the exchange that was staged last has been applied. */
  readonly exchanged: boolean;
  serve(arena: Arena): Promise<ServeOutcome>;
  /** @returns bytes that the step which names the exchange will copy */
  stage(exchange: Exchange, signal: AbortSignal | null): Promise<number>;
  stop(): void;
  close(): Promise<void>;
}

export interface Device {
  readonly kind: ExecutorKind;
  readonly name: "cpu" | "host" | CardDevice;
  /** The name of the real card that computes; null for all that stands in for one. */
  readonly card: string | null;
  /** Bytes it may use for weights, KV cache and scratch; 0 means no limit. */
  readonly budgetBytes: number;
  readonly threads: number;
  /** Whether only another process can open the device again once a step has failed. */
  readonly endsWithStep: boolean;
  /**
   * Takes the memory a plan needs and fills it. Nothing stays taken when it rejects.
   * @throws NativeError, or ThermoclineError RESOURCE_EXHAUSTED when the plan does not fit the budget
   */
  load(plan: EnginePlan, onProgress: Progress, signal: AbortSignal): Promise<DeviceEngine>;
}

/** The cores of this machine. */
export function cpuDevice(options: EngineOptions): Device {
  return {
    kind: "cpu",
    name: "cpu",
    card: null,
    budgetBytes: options.budgetBytes,
    threads: options.threads,
    endsWithStep: false,
    load: (plan, onProgress, signal) => Engine.load(plan, options, onProgress, signal),
  };
}
