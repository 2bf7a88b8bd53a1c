/** Log-probabilities of the model's own distribution, before any sampling filter. */
import type { TokenCandidate } from "./generation.js";

/** A softmax in log space. */
export class LogSoftmax {
  private readonly max: number;
  private readonly logSum: number;

  /** @param logits `vocab` numbers, none NaN or +infinity and at least one above -infinity */
  constructor(private readonly logits: Float32Array) {
    let max = Number.NEGATIVE_INFINITY;
    for (const logit of logits) if (logit > max) max = logit;
    // Shifted by the maximum, no exponential overflows and at least one is 1.
    let sum = 0;
    for (const logit of logits) sum += Math.exp(logit - max);
    this.max = max;
    this.logSum = Math.log(sum);
  }

  of(token: number): number {
    // In this order: added to a huge maximum, the logarithm of the sum would be lost.
    return this.logitOf(token) - this.max - this.logSum;
  }

  /** The `count` most likely tokens, most likely first and the lower id first among equals. */
  top(count: number): TokenCandidate[] {
    const ids: number[] = [];
    let last = Number.NEGATIVE_INFINITY;
    for (let id = 0; id < this.logits.length; id++) {
      const logit = this.logitOf(id);
      if (ids.length === count && logit <= last) continue;
      let place = ids.length;
      while (place > 0 && logit > this.logitOf(ids[place - 1] ?? 0)) place--;
      ids.splice(place, 0, id);
      if (ids.length > count) ids.pop();
      last = this.logitOf(ids[ids.length - 1] ?? 0);
    }
    return ids.map((id) => ({ id, logprob: this.of(id) }));
  }

  private logitOf(token: number): number {
    return this.logits[token] ?? Number.NEGATIVE_INFINITY;
  }
}
