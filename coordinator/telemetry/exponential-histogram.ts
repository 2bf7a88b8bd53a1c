/** A base-2 exponential histogram of the OpenTelemetry data model, at some ten nanoseconds a value. */
import type { metrics } from "@opentelemetry/sdk-node";

/** Buckets grow by 2^(2^-SCALE) = 1.19, so a quantile is off by 9 % at most. */
const SCALE = 2;
const BUCKETS_PER_OCTAVE = 2 ** SCALE;
/** Bucket of 2^-30, about a nanosecond in seconds, which is the clocks' resolution. */
const LOWEST_INDEX = -30 * BUCKETS_PER_OCTAVE;
/** Up to 2^13: more seconds than a step may take, and more rows than it may have. */
const BUCKETS = 43 * BUCKETS_PER_OCTAVE;

export class ExponentialHistogram {
  private readonly buckets = new Float64Array(BUCKETS);
  private count = 0;
  private zeros = 0;
  private sum = 0;
  private min = Number.POSITIVE_INFINITY;
  private max = 0;

  /** Counts a value; what is not positive counts as zero. */
  record(value: number): void {
    this.count++;
    this.sum += value;
    if (value < this.min) this.min = value;
    if (value > this.max) this.max = value;
    if (value <= 0) {
      this.zeros++;
      return;
    }
    // Bucket i holds (base^i, base^(i+1)].
    const index = Math.ceil(Math.log2(value) * BUCKETS_PER_OCTAVE) - 1 - LOWEST_INDEX;
    const place = Math.min(Math.max(index, 0), BUCKETS - 1);
    this.buckets[place] = (this.buckets[place] ?? 0) + 1;
  }

  /** As the data model has it: the buckets between the first and the last that hold anything. */
  data(): metrics.ExponentialHistogram {
    const first = this.buckets.findIndex((count) => count > 0);
    const last = this.buckets.findLastIndex((count) => count > 0);
    return {
      count: this.count,
      sum: this.sum,
      min: this.min,
      max: this.max,
      scale: SCALE,
      zeroCount: this.zeros,
      positive: {
        offset: first < 0 ? 0 : LOWEST_INDEX + first,
        bucketCounts: first < 0 ? [] : Array.from(this.buckets.subarray(first, last + 1)),
      },
      negative: { offset: 0, bucketCounts: [] },
    };
  }
}
