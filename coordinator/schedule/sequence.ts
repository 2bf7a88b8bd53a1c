/** One request's sequence of tokens: what is fed next, and what becomes of the logits that come back. */
import type { Candidates, StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Tokenizer, TokenStream } from "../model/tokenizer.js";
import type { RequestObserver } from "../telemetry/observer.js";
import { EventChannel } from "./event-channel.js";
import type { FinishReason, GenerationEvent, GenerationRequest } from "./generation.js";
import { LayerSummary, type StepLayers } from "./layer-summary.js";
import { Sampler } from "./sampler.js";
import type { Wanted } from "./step.js";
import { StopStrings } from "./stop-strings.js";

export interface SequenceOptions {
  tokenizer: Tokenizer;
  observer: RequestObserver;
  contextLength: number;
  /** Events a consumer may be behind before its sequence is paused. */
  maxBacklog: number;
  /** How long a paused sequence keeps its slot while its consumer takes nothing. */
  stallMs: number;
  /** The consumer took an event. */
  onTaken: () => void;
  /** It is over, for whatever reason; called once. */
  onEnded: (sequence: Sequence, outcome: FinishReason | Error) => void;
}

export class Sequence {
  readonly events: EventChannel<GenerationEvent>;
  readonly observer: RequestObserver;
  readonly promptTokens: readonly number[];
  generatedTokens = 0;
  ended = false;
  private readonly sampler: Sampler;
  private readonly text: TokenStream;
  private readonly stops: StopStrings;
  private readonly layers: LayerSummary | null;
  private slot = -1;
  /** Positions given to steps so far. */
  private position = 0;
  private lastToken = -1;
  private stall: NodeJS.Timeout | undefined;
  // Milliseconds of performance.now().
  private admittedAt = 0;
  private firstTokenAt = 0;
  private lastTokenAt = 0;

  constructor(
    private readonly request: GenerationRequest,
    private readonly options: SequenceOptions,
  ) {
    this.observer = options.observer;
    this.promptTokens = request.promptTokens;
    this.sampler = new Sampler(request);
    this.text = options.tokenizer.stream(request.promptTokens);
    this.stops = new StopStrings(request.stop);
    this.layers = request.layerSummary ? new LayerSummary() : null;
    const onTaken = () => {
      clearTimeout(this.stall);
      options.onTaken();
    };
    this.events = new EventChannel(onTaken, () =>
      this.cancel(new ThermoclineError("CANCELLED", "the request's reader left before its end")),
    );
    request.signal.addEventListener("abort", this.onAbort, { once: true });
  }

  /** Prompt tokens that no step has had yet. */
  get promptLeft(): number {
    return Math.max(0, this.promptTokens.length - this.position);
  }

  /** Whether the consumer is so far behind that no more may be generated for now. */
  get paused(): boolean {
    return this.events.backlog >= this.options.maxBacklog;
  }

  get wantsLayers(): boolean {
    return this.layers !== null;
  }

  admit(slot: number): void {
    this.slot = slot;
    this.admittedAt = performance.now();
  }

  /**
   * Appends the next `count` rows: prompt tokens while there are any, else the last generated token.
   * @returns what the last of them wants
   */
  addRows(rows: StepRow[], count: number): Wanted {
    const { length } = this.promptTokens;
    const { candidates } = this.sampler;
    for (let added = 0; added < count; added++) {
      const position = this.position++;
      const token = this.promptTokens[position] ?? this.lastToken;
      const wantsLogits = position >= length - 1;
      rows.push({ token, position, slot: this.slot, wantsLogits, candidates: wantsLogits ? candidates : 0 });
    }
    if (this.position < length) return "nothing";
    return candidates > 0 ? "candidates" : "logits";
  }

  /** Notes the layer times of a step that decoded for this request. */
  addLayers(layers: StepLayers): void {
    this.layers?.add(layers);
  }

  /** Takes what its last row wanted: chooses a token, hands it on, and ends where it must. */
  accept(given: Float32Array | Candidates): void {
    const { id, logprob, top } = this.sampler.sample(given);
    const now = performance.now();
    if (this.firstTokenAt === 0) this.firstTokenAt = now;
    this.lastTokenAt = now;
    if (!this.request.ignoreEos && this.options.tokenizer.isEnd(id)) {
      this.finish("end-of-sequence");
      return;
    }
    this.lastToken = id;
    this.generatedTokens++;
    this.events.push({ kind: "token", id, text: this.stops.push(this.text.push(id)), logprob, top });
    if (this.stops.met) this.finish("stop");
    else if (this.generatedTokens === this.request.maxTokens) this.finish("max-tokens");
    else if (this.promptTokens.length + this.generatedTokens === this.options.contextLength) {
      this.finish("context-full");
    } else if (this.paused) this.watchReader();
  }

  /** A reader that stays but reads nothing would keep its slot from others. */
  private watchReader(): void {
    const { stallMs } = this.options;
    const stalled = new ThermoclineError(
      "DEADLINE_EXCEEDED",
      `nothing was read from the stream for ${stallMs / 1000} s while others may wait for its slot; read tokens as ` +
        "they come",
    );
    this.stall = setTimeout(() => this.fail(stalled), stallMs);
  }

  /** Ends with an error, after the events that were handed on before. */
  fail(error: Error): void {
    if (this.ended) return;
    this.events.fail(error);
    this.end(error);
  }

  /** Ends with an error at once; nobody wants the events that are still unread. */
  cancel(error: Error): void {
    if (this.ended) return;
    this.events.discard();
    this.fail(error);
  }

  /** Looks at a signal that may have been aborted before this sequence began to listen. */
  readonly onAbort = (): void => {
    if (this.request.signal.aborted) this.cancel(abortError(this.request.signal.reason));
  };

  private finish(reason: FinishReason): void {
    const { text, finishReason } = this.remainingText(reason);
    const decodeS = (this.lastTokenAt - this.firstTokenAt) / 1000;
    const prefillS = (this.firstTokenAt - this.admittedAt) / 1000;
    this.events.push({
      kind: "summary",
      summary: {
        finishReason,
        promptTokens: this.promptTokens.length,
        generatedTokens: this.generatedTokens,
        timeToFirstTokenS: (this.firstTokenAt - this.request.arrivedAt) / 1000,
        decodeTokensPerS: rate(this.generatedTokens - 1, decodeS),
        prefillTokensPerS: rate(this.promptTokens.length, prefillS),
        queueS: (this.admittedAt - this.request.arrivedAt) / 1000,
        seed: this.sampler.seed,
        layers: this.layers?.latencies() ?? [],
        text,
        traceId: this.observer.traceId,
      },
    });
    this.events.end();
    this.end(finishReason);
  }

  /** The text held back; its U+FFFD may still complete a stop string. */
  private remainingText(reason: FinishReason): { text: string; finishReason: FinishReason } {
    if (reason === "stop") return { text: "", finishReason: reason };
    const text = this.stops.push(this.text.end());
    return this.stops.met
      ? { text, finishReason: "stop" }
      : { text: text + this.stops.end(), finishReason: reason };
  }

  private end(outcome: FinishReason | Error): void {
    this.ended = true;
    clearTimeout(this.stall);
    this.request.signal.removeEventListener("abort", this.onAbort);
    this.options.onEnded(this, outcome);
  }
}

function rate(count: number, seconds: number): number {
  return count > 0 && seconds > 0 ? count / seconds : 0;
}

/** What an aborted signal's reason means to the caller. */
function abortError(reason: unknown): ThermoclineError {
  if (reason instanceof ThermoclineError) return reason;
  return reason instanceof Error && reason.name === "TimeoutError"
    ? new ThermoclineError("DEADLINE_EXCEEDED", "the request's deadline passed before it was done", {
        cause: reason,
      })
    : new ThermoclineError("CANCELLED", "the request was cancelled by its caller", { cause: reason });
}
