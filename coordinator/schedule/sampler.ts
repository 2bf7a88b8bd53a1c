/**
 * Chooses tokens from logits, in the order SamplingOptions of inference.proto documents: repetition penalty; greedy
 * at temperature 0; else top-k, top-p, min-p, temperature, draw. Each filter sees the probabilities, at temperature
 * 1, among the tokens that the ones before it kept.
 */
import { type Candidates, MOST_CANDIDATES } from "../../native/index.js";
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
  /** Kept tokens, their logits and their weights in the draw; as many entries as a draw has needed so far. */
  private kept = new Int32Array(0);
  private keptLogits = new Float32Array(0);
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
   * How many of the highest logits are enough for the next token to be the one that all of them give; 0: none but all.
   * A penalty lowers logits within the window alone, so behind so many more tokens nothing comes to the front.
   */
  get candidates(): number {
    const { temperature, topK, repeatPenalty } = this.params;
    if (this.wantsLogprobs || repeatPenalty < 1) return 0;
    const kept = temperature === 0 ? 1 : topK;
    const enough = kept + new Set(this.window).size;
    return kept === 0 || enough > MOST_CANDIDATES ? 0 : enough;
  }

  /**
   * @param given `vocab` logits, the same on return, or as many of the highest as {@link candidates} says
   * @throws ThermoclineError INTERNAL when they are no distribution (NaN, +infinity, or nothing above -infinity)
   */
  sample(given: Float32Array | Candidates): SampledToken {
    const id = given instanceof Float32Array ? this.choose(given) : this.chooseOf(given);
    this.remember(id);
    if (!this.wantsLogprobs) return { id, logprob: null, top: [] };
    if (!(given instanceof Float32Array)) throw new Error("log-probabilities take all logits");
    const softmax = new LogSoftmax(given);
    return {
      id,
      logprob: this.logprobs ? softmax.of(id) : null,
      top: this.topLogprobs === 0 ? [] : softmax.top(this.topLogprobs),
    };
  }

  private get wantsLogprobs(): boolean {
    return this.logprobs || this.topLogprobs > 0;
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
      if (this.params.temperature === 0) return best;
      return this.draw(this.keepByRank(logits, at(logits, best)), best, at(logits, best));
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
      logits[token] = penalized(logit, repeatPenalty);
    }
    return raw;
  }

  private chooseOf({ tokens, logits }: Candidates): number {
    const recent = new Set(this.window);
    const ranked = Array.from(tokens, (id, place) => {
      const logit = checked(at(logits, place), id);
      return { id, logit: recent.has(id) ? Math.fround(penalized(logit, this.params.repeatPenalty)) : logit };
    });
    if (recent.size > 0) ranked.sort((a, b) => b.logit - a.logit || a.id - b.id);
    const best = ranked[0];
    if (best === undefined || best.logit === Number.NEGATIVE_INFINITY) throw nothingFinite(ranked.length);
    if (this.params.temperature === 0) return best.id;
    this.makeRoom(ranked.length);
    const count = Math.min(this.params.topK, ranked.length);
    for (const [place, { id, logit }] of ranked.slice(0, count).entries()) this.keep(place, id, logit);
    return this.draw(
      this.keepByMass(count, this.keptLogits.subarray(0, count), best.logit),
      best.id,
      best.logit,
    );
  }

  private makeRoom(tokens: number): void {
    if (this.kept.length >= tokens) return;
    this.kept = new Int32Array(tokens);
    this.keptLogits = new Float32Array(tokens);
    this.weights = new Float64Array(tokens);
  }

  private keep(place: number, id: number, logit: number): void {
    this.kept[place] = id;
    this.keptLogits[place] = logit;
  }

  /** @param count how many tokens top-k and top-p kept */
  private draw(count: number, best: number, max: number): number {
    const { kept, keptLogits, weights } = this;
    const drawn = this.keepByMinP(count, max);
    let total = 0;
    for (let place = 0; place < drawn; place++) {
      // Divided after the subtraction: a tiny temperature then gives 0 or -infinity, never NaN.
      const weight = Math.exp((at(keptLogits, place) - max) / this.params.temperature);
      weights[place] = weight;
      total += weight;
    }
    let left = this.random.nextDouble() * total;
    for (let place = 0; place < drawn; place++) {
      left -= at(weights, place);
      if (left < 0) return at(kept, place);
    }
    // Rounding used up the whole sum without passing it.
    return best;
  }

  /** Top-k and top-p. @returns how many tokens are kept */
  private keepByRank(logits: Float32Array, max: number): number {
    const { topK, topP } = this.params;
    this.makeRoom(logits.length);
    if ((topK === 0 || topK >= logits.length) && topP >= 1) {
      for (let id = 0; id < logits.length; id++) this.keep(id, id, at(logits, id));
      return logits.length;
    }
    this.heap.fill(logits);
    const keepNext = (place: number) => {
      const id = this.heap.pop();
      this.keep(place, id, at(logits, id));
    };
    if (topK === 0 || topK >= logits.length) return this.keepByMass(logits.length, logits, max, keepNext);
    for (let place = 0; place < topK; place++) keepNext(place);
    return this.keepByMass(topK, this.keptLogits.subarray(0, topK), max);
  }

  /**
   * Top-p of the `count` most likely tokens.
   * @param among their logits, in any order
   * @param keepNext keeps the token of a place, where that is not done yet
   * @returns how many are kept
   */
  private keepByMass(
    count: number,
    among: Float32Array,
    max: number,
    keepNext?: (place: number) => void,
  ): number {
    const { topP } = this.params;
    if (topP >= 1) return count;
    let total = 0;
    for (const logit of among) total += Math.exp(logit - max);
    let mass = 0;
    for (let place = 0; place < count; place++) {
      keepNext?.(place);
      mass += Math.exp(at(this.keptLogits, place) - max);
      if (mass >= topP * total) return place + 1;
    }
    return count;
  }

  private keepByMinP(count: number, max: number): number {
    const { minP } = this.params;
    if (minP === 0) return count;
    const { kept, keptLogits } = this;
    let left = 0;
    for (let place = 0; place < count; place++) {
      const logit = at(keptLogits, place);
      if (Math.exp(logit - max) >= minP) this.keep(left++, at(kept, place), logit);
    }
    return left;
  }
}

function penalized(logit: number, penalty: number): number {
  return logit > 0 ? logit / penalty : logit * penalty;
}

/** The token with the highest logit, the lowest id among equals. */
function mostLikelyToken(logits: Float32Array): number {
  let best = -1;
  let max = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    const logit = at(logits, id);
    // Written so that NaN enters too: one comparison an element finds both the maximum and the defect.
    if (logit <= max) continue;
    max = checked(logit, id);
    best = id;
  }
  if (best < 0) throw nothingFinite(logits.length);
  return best;
}

function checked(logit: number, id: number): number {
  if (logit < Number.POSITIVE_INFINITY) return logit;
  throw new ThermoclineError(
    "INTERNAL",
    `the model gave the logit ${logit} for token ${id}; its weights or the kernels are damaged, so check the model ` +
      "file and report this",
  );
}

function nothingFinite(count: number): ThermoclineError {
  return new ThermoclineError(
    "INTERNAL",
    `the model gave no finite logit among ${count}; its weights or the kernels are damaged, so check the model file ` +
      "and report this",
  );
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? 0;
}
