/** Generation requests for tests, what their lone runs give, and readers of their events. */
import { ROOT_CONTEXT } from "@opentelemetry/api";
import type {
  FinishReason,
  GenerationEvent,
  GenerationRequest,
  GenerationSummary,
} from "../../coordinator/schedule/generation.js";
import { Sampler } from "../../coordinator/schedule/sampler.js";
import { fakeLogits } from "./fake-step-runner.js";
import { fakeTokenizer } from "./fake-tokenizer.js";

export const GREEDY = { temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1, seed: null };

/** Greedy, with no end but `maxTokens` or the context's. */
export function request(changes: Partial<GenerationRequest>): GenerationRequest {
  return {
    arrivedAt: performance.now(),
    promptTokens: [5, 6, 7],
    maxTokens: null,
    sampling: GREEDY,
    stop: [],
    topLogprobs: 0,
    logprobs: false,
    layerSummary: false,
    ignoreEos: true,
    signal: new AbortController().signal,
    traceContext: ROOT_CONTEXT,
    ...changes,
  };
}

export interface Output {
  tokens: number[];
  text: string;
  finishReason: FinishReason | null;
}

/** What `asked` gives when nothing else runs, straight from the definition; no batcher takes part. */
export function loneRun(asked: GenerationRequest, contextLength: number): Output {
  const sampler = new Sampler(asked);
  const tokens: number[] = [];
  for (;;) {
    const token = sampler.sample(fakeLogits([...asked.promptTokens, ...tokens])).id;
    const ends = !asked.ignoreEos && fakeTokenizer.isEnd(token);
    if (!ends) tokens.push(token);
    const text = fakeTokenizer.decode(tokens);
    const cut = firstStop(text, asked.stop);
    // A half character at the end may yet become a whole one, so only a final text may be cut inside it.
    if (cut !== null && !(text.endsWith("\uFFFD") && !ends && cut.end === text.length)) {
      return { tokens, text: text.slice(0, cut.start), finishReason: "stop" };
    }
    if (ends) return { tokens, text, finishReason: "end-of-sequence" };
    if (tokens.length === asked.maxTokens) return { tokens, text, finishReason: "max-tokens" };
    if (asked.promptTokens.length + tokens.length === contextLength) {
      return { tokens, text, finishReason: "context-full" };
    }
  }
}

function firstStop(text: string, stops: readonly string[]): { start: number; end: number } | null {
  for (let end = 1; stops.length > 0 && end <= text.length; end++) {
    const seen = text.slice(0, end);
    const lengths = stops.filter((stop) => seen.endsWith(stop)).map((stop) => stop.length);
    if (lengths.length > 0) return { start: end - Math.max(...lengths), end };
  }
  return null;
}

export interface Collected extends Output {
  summary: GenerationSummary | null;
  error: unknown;
}

/**
 * Reads events to their end.
 * @param onEvent is awaited after each event; a slow one makes a slow reader
 */
export async function collect(
  events: AsyncIterable<GenerationEvent>,
  onEvent: (count: number) => unknown = () => undefined,
): Promise<Collected> {
  const collected: Collected = { tokens: [], text: "", finishReason: null, summary: null, error: null };
  try {
    for await (const event of events) {
      if (event.kind === "token") {
        collected.tokens.push(event.id);
        collected.text += event.text;
      } else {
        collected.summary = event.summary;
        collected.finishReason = event.summary.finishReason;
        collected.text += event.summary.text;
      }
      await onEvent(collected.tokens.length);
    }
  } catch (error) {
    collected.error = error;
  }
  return collected;
}

/** Reads events to their end, or throws what ended them. */
export async function eventsOf(events: AsyncIterable<GenerationEvent>): Promise<GenerationEvent[]> {
  const all: GenerationEvent[] = [];
  for await (const event of events) all.push(event);
  return all;
}

/** Lets everything that is ready run, `turns` times. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}

/** Waits until `condition` holds; fails after 5 s. */
export async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = Date.now() + 5000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`);
    await turns(1);
  }
}
