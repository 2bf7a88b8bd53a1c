/** What a caller asks of the batcher and what comes back; free of any wire format. */
import type { Context } from "@opentelemetry/api";

export interface SamplingParams {
  /** 0 means greedy. */
  temperature: number;
  /** 0 keeps all. */
  topK: number;
  topP: number;
  minP: number;
  repeatPenalty: number;
  /** null draws one. */
  seed: bigint | null;
}

export interface GenerationRequest {
  /** When the caller's request came in, in milliseconds of `performance.now()`. */
  arrivedAt: number;
  promptTokens: readonly number[];
  /** null: what is left of the context. */
  maxTokens: number | null;
  sampling: SamplingParams;
  stop: readonly string[];
  topLogprobs: number;
  logprobs: boolean;
  layerSummary: boolean;
  ignoreEos: boolean;
  /** Ends the work within one step when aborted. */
  signal: AbortSignal;
  /** The caller's trace context, the parent of the request's spans. */
  traceContext: Context;
}

export interface TokenCandidate {
  id: number;
  logprob: number;
}

export type FinishReason = "end-of-sequence" | "stop" | "max-tokens" | "context-full";

/** Medians over a request's decode steps; see LayerSummary in inference.proto. */
export interface LayerLatency {
  layer: number;
  attentionUs: number;
  predictUs: number;
  hotUs: number;
  coldUs: number;
  waitUs: number;
  mergeUs: number;
  totalUs: number;
  activeHotNeurons: number;
  activeColdNeurons: number;
  placedHotNeurons: number;
  placedColdNeurons: number;
  bytesTouched: number;
}

export interface GenerationSummary {
  finishReason: FinishReason;
  promptTokens: number;
  generatedTokens: number;
  timeToFirstTokenS: number;
  decodeTokensPerS: number;
  prefillTokensPerS: number;
  queueS: number;
  seed: bigint;
  layers: LayerLatency[];
  /** Text held back until the end. */
  text: string;
  /** Empty when the request is not sampled. */
  traceId: string;
}

export type GenerationEvent =
  | { kind: "token"; id: number; text: string; logprob: number | null; top: TokenCandidate[] }
  | { kind: "summary"; summary: GenerationSummary };
