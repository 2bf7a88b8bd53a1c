/** What the batcher tells telemetry; telemetry never holds the batcher up. */
import type { Context } from "@opentelemetry/api";
import type { FinishReason } from "../schedule/generation.js";
import type { StepResult } from "../schedule/step.js";

/** A request's rows in one step. */
export interface StepShare {
  request: RequestObserver;
  /** Whether these rows are prompt or generated tokens. */
  stage: "prefill" | "decode";
  rows: number;
}

/** One request's life, from admission to its end. */
export interface RequestObserver {
  /** Hexadecimal trace id, or "" when the request is not sampled. */
  readonly traceId: string;
  /** The request got a slot. */
  admitted(): void;
  firstToken(): void;
  /** How the request ended: a finish reason, or an error. Called once. */
  finished(outcome: FinishReason | Error, promptTokens: number, generatedTokens: number): void;
}

export interface Observer {
  /** A request arrived. */
  request(parent: Context, promptTokens: number): RequestObserver;
  /** A step ended; called after its tokens were handed on. */
  step(result: StepResult, shares: readonly StepShare[]): void;
}
