/** Telemetry of one server: nothing without an OTLP receiver, traces and metrics with one. */
import type { Logger } from "pino";
import type { ExecutorKind } from "../../native/index.js";
import type { ExchangeRound } from "../placement/re-placement.js";
import { NOOP_OBSERVER } from "./noop.js";
import type { Observer } from "./observer.js";

export interface TelemetryOptions {
  /** URL of an OTLP/gRPC receiver, or null for no telemetry. */
  otlpEndpoint: string | null;
  /** Share of requests to trace, 0 to 1; a caller that sends a traceparent decides for its own. */
  traceRatio: number;
  /** The model's name. */
  model: string;
  /** The executors in the schedule's order; empty while they are not known. */
  executors: () => readonly ExecutorKind[];
  log: Logger;
}

export interface Telemetry {
  readonly observer: Observer;
  /** Neurons have changed places. */
  rePlaced(round: ExchangeRound): void;
  /** Sends what is left, for a second at most; never rejects. */
  shutdown(): Promise<void>;
}

const OFF: Telemetry = {
  observer: NOOP_OBSERVER,
  rePlaced: () => undefined,
  shutdown: () => Promise.resolve(),
};

/** Starts telemetry. A receiver that is not there is no error: it may come later, and the log tells what was lost. */
export async function createTelemetry(options: TelemetryOptions): Promise<Telemetry> {
  if (options.otlpEndpoint === null) return OFF;
  const { OtlpTelemetry } = await import("./otlp-telemetry.js");
  return new OtlpTelemetry(options.otlpEndpoint, options);
}
