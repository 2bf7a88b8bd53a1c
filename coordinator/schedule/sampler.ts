/**
 * Chooses tokens from logits, in the order SamplingOptions of inference.proto documents: repetition penalty; greedy
 * at temperature 0; else top-k, top-p, min-p, temperature, draw. Each filter sees the probabilities, at temperature
 * 1, among the tokens that the ones before it kept.
 */
import { ThermoclineError } from "../../proto/errors.js";
import type { GenerationRequest, SamplingParams, TokenCandidate } from "./generation.js";
import { LogSoftmax } from "./log-probabilities.js";
import { drawSeed, Xoshiro256 } from "./random.js";
import { TokenHeap } from "./token-heap.js";

/** The repetition penalty looks at this many tokens of prompt and output. */
export const PENALTY_WINDOW = 64;

export interface SampledToken {
  id: number;
  /** Natural logarithm of its probability before penalty and filters; null when not asked for. */
  logprob: number | null;
  /** The most likely tokens before penalty and filters; empty when not asked for. */
  top: TokenCandidate[];
}

/** The sampler of one request. */
export class Sampler {
  /** The seed that gives these tokens again. */
  readonly seed: bigint;
  private readonly params: SamplingParams;
  private readonly logprobs: boolean;
  private readonly topLogprobs: number;
  private readonly random: Xoshiro256;
  /** The last tokens, oldest first; empty when there is no penalty. */
  private readonly window: number[] = [];
  /** Kept tokens and their weights in the draw; `vocab` entries, made at the first draw. */
  private kept = new Int32Array(0);
  private weights = new Float64Array(0);
  private readonly heap = new TokenHeap();

  constructor(request: Pick<GenerationRequest, "sampling" | "logprobs" | "topLogprobs" | "promptTokens">) {
    this.params = request.sampling;
    this.logprobs = request.logprobs;
    this.topLogprobs = request.topLogprobs;
    this.seed = BigInt.asUintN(64, request.sampling.seed ?? drawSeed());
    this.random = Xoshiro256.seeded(this.seed);
    for (const token of request.promptTokens.slice(-PENALTY_WINDOW)) this.remember(token);
  }

  /**
   * @param logits `vocab` numbers, the same on return
   * @throws ThermoclineError INTERNAL when they are no distribution (NaN, +infinity, or nothing above -infinity)
   */
  sample(logits: Float32Array): SampledToken {
    const id = this.choose(logits);
    this.remember(id);
    if (!this.logprobs && this.topLogprobs === 0) return { id, logprob: null, top: [] };
    const softmax = new LogSoftmax(logits);
    return {
      id,
      logprob: this.logprobs ? softmax.of(id) : null,
      top: this.topLogprobs === 0 ? [] : softmax.top(this.topLogprobs),
    };
  }

  private remember(token: number): void {
    if (this.params.repeatPenalty === 1) return;
    this.window.push(token);
    if (this.window.length > PENALTY_WINDOW) this.window.shift();
  }

  private choose(logits: Float32Array): number {
    const raw = this.penalize(logits);
    try {
      const best = mostLikelyToken(logits);
      return this.params.temperature === 0 ? best : this.draw(logits, best);
    } finally {
      for (const [token, logit] of raw) logits[token] = logit;
    }
  }

  /** @returns what the changed logits were before */
  private penalize(logits: Float32Array): Map<number, number> {
    const { repeatPenalty } = this.params;
    const raw = new Map<number, number>();
    for (const token of this.window) {
      if (raw.has(token)) continue;
      const logit = at(logits, token);
      raw.set(token, logit);
      logits[token] = logit > 0 ? logit / repeatPenalty : logit * repeatPenalty;
    }
    return raw;
  }

  private draw(logits: Float32Array, best: number): number {
    if (this.kept.length < logits.length) {
      this.kept = new Int32Array(logits.length);
      this.weights = new Float64Array(logits.length);
    }
    const count = this.keepByMinP(logits, best, this.keepByRank(logits, best));
    const { kept, weights } = this;
    const max = at(logits, best);
    let total = 0;
    for (let place = 0; place < count; place++) {
      // Divided after the subtraction: a tiny temperature then gives 0 or -infinity, never NaN.
      const weight = Math.exp((at(logits, at(kept, place)) - max) / this.params.temperature);
      weights[place] = weight;
      total += weight;
    }
    let left = this.random.nextDouble() * total;
    for (let place = 0; place < count; place++) {
      left -= at(weights, place);
      if (left < 0) return at(kept, place);
    }
    // Rounding used up the whole sum without passing it.
    return best;
  }

  /** Top-k and top-p. @returns how many tokens `kept` holds */
  private keepByRank(logits: Float32Array, best: number): number {
    const { topK, topP } = this.params;
    const { kept } = this;
    const limit = topK === 0 ? logits.length : Math.min(topK, logits.length);
    if (limit === logits.length && topP >= 1) {
      for (let id = 0; id < limit; id++) kept[id] = id;
      return limit;
    }

    this.heap.fill(logits);
    const cutsByCount = limit < logits.length;
    if (cutsByCount) for (let place = 0; place < limit; place++) kept[place] = this.heap.pop();

    const max = at(logits, best);
    let total = 0;
    if (cutsByCount)
      for (let place = 0; place < limit; place++) total += Math.exp(at(logits, at(kept, place)) - max);
    else for (const logit of logits) total += Math.exp(logit - max);

    let mass = 0;
    for (let place = 0; place < limit; place++) {
      if (!cutsByCount) kept[place] = this.heap.pop();
      mass += Math.exp(at(logits, at(kept, place)) - max);
      if (topP < 1 && mass >= topP * total) return place + 1;
    }
    return limit;
  }

  private keepByMinP(logits: Float32Array, best: number, count: number): number {
    const { minP } = this.params;
    if (minP === 0) return count;
    const { kept } = this;
    const max = at(logits, best);
    let left = 0;
    for (let place = 0; place < count; place++) {
      const id = at(kept, place);
      if (Math.exp(at(logits, id) - max) >= minP) kept[left++] = id;
    }
    return left;
  }
}

/** The token with the highest logit, the lowest id among equals. */
function mostLikelyToken(logits: Float32Array): number {
  let best = -1;
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = at(logits, id);
    // Written so that NaN enters too: one comparison an element finds both the maximum and the defect.
    if (logit <= max) continue;
    if (Number.isNaN(logit) || logit === Number.POSITIVE_INFINITY) {
      throw new ThermoclineError(
        "INTERNAL",
        `the model gave the logit ${logit} for token ${id}; its weights or the kernels are damaged, so check the model ` +
          "file and report this",
      );
    }
    max = logit;
    best = id;
  }
  if (best < 0) {
    throw new ThermoclineError(
      "INTERNAL",
      `the model gave no finite logit among ${logits.length}; its weights or the kernels are damaged, so check the ` +
        "model file and report this",
    );
  }
  return best;
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? 0;
}
