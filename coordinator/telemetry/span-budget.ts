/** Keeps the cost of tracing under its limit: spans a second, as a token bucket that may run into debt. */

/**
 * A span costs about 20 us of the coordinator's thread: 3 us to make, 17 us to send. Tracing may take 2 % of the
 * time, so 1,000 spans a second; a quarter of that leaves room for slower machines, metrics, and what is not counted.
 */
const SPANS_PER_S = 250;
/** Saved up while idle: a second's worth, 5 ms of work. */
const CAPACITY = 256;
/** What goes first may use up the budget of the next four seconds. */
const MAX_DEBT = 4 * SPANS_PER_S;
/** Other detail leaves this for what goes first. */
const RESERVE = CAPACITY / 2;

/**
 * Most spans made at one go: a full bucket, the debt, and the last step admitted, which may overshoot by its own
 * size (100 layers of 10 spans).
 */
export const MAX_BURST = CAPACITY + MAX_DEBT + 1000;

export class SpanBudget {
  private spans = CAPACITY;
  private refilledAtNs: number;

  constructor(nowNs: number) {
    this.refilledAtNs = nowNs;
  }

  /**
   * Whether another step's detail may be made now; {@link spend} then takes what it costs.
   * @param first whether it goes before other detail: a request's first step of either stage
   */
  allows(first: boolean, nowNs: number): boolean {
    const seconds = Math.max(0, nowNs - this.refilledAtNs) / 1e9;
    this.refilledAtNs = nowNs;
    this.spans = Math.min(CAPACITY, this.spans + seconds * SPANS_PER_S);
    return first ? this.spans > -MAX_DEBT : this.spans >= RESERVE;
  }

  /** Spans that hold a request together are made in any case, and paid for too. */
  spend(count: number): void {
    this.spans -= count;
  }
}
