/** Perplexity and its standard error, from negative log-likelihoods of tokens. */

export interface Perplexity {
  /** Tokens scored. */
  tokens: number;
  /** Mean negative log-likelihood of a token, in nats; the perplexity is its exponential. */
  meanNll: number;
  perplexity: number;
  /** Null for a single token. */
  standardError: number | null;
}

/**
 * The mean's standard error is s / sqrt(n), with the sample's variance s² (n - 1 degrees of freedom). The delta method
 * carries it over: exp has the derivative exp, so the perplexity's is the perplexity times that. It takes tokens for
 * independent, as llama.cpp's figure does; those of a text are not quite.
 */
export class Estimate {
  private tokens = 0;
  private mean = 0;
  /** Sum of squared distances from the mean (Welford 1962). */
  private squares = 0;

  add(nll: number): void {
    this.tokens++;
    const distance = nll - this.mean;
    this.mean += distance / this.tokens;
    this.squares += distance * (nll - this.mean);
  }

  /** Null before the first token. */
  get result(): Perplexity | null {
    const { tokens, mean, squares } = this;
    if (tokens === 0) return null;
    const perplexity = Math.exp(mean);
    const standardError = tokens === 1 ? null : perplexity * Math.sqrt(squares / (tokens - 1) / tokens);
    return { tokens, meanNll: mean, perplexity, standardError };
  }
}
