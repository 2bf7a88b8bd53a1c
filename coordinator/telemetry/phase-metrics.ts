/**
 * Where time goes, by executor, layer and phase. Every timing record of every step is counted, hundreds a step, so
 * the histograms are kept here, at some ten nanoseconds a record; through an instrument of the API it would be a
 * microsecond. The metric reader collects them as from any other producer.
 */
import { type Attributes, type HrTime, ValueType } from "@opentelemetry/api";
import { metrics, resources } from "@opentelemetry/sdk-node";
import { PHASES } from "../../native/index.js";
import { ATTRIBUTES, METRICS } from "./names.js";
import { FIELD, field, RECORD_WIDTH } from "./timing-records.js";

/** Buckets of the exponential histogram grow by 2^(2^-SCALE) = 1.19, so a quantile is off by 9 % at most. */
const SCALE = 2;
const BUCKETS_PER_OCTAVE = 2 ** SCALE;
/** Bucket of 2^-30 s, about a nanosecond, which is the clock's resolution. */
const LOWEST_INDEX = -30 * BUCKETS_PER_OCTAVE;
/** Up to 2^6 s, longer than a step may take. */
const BUCKETS = 36 * BUCKETS_PER_OCTAVE;

/** One executor's records of one phase of one layer. */
class Series {
  readonly buckets = new Float64Array(BUCKETS);
  count = 0;
  zeros = 0;
  sumNs = 0;
  minNs = Number.POSITIVE_INFINITY;
  maxNs = 0;
  active = 0;
  bytes = 0;

  constructor(readonly attributes: Attributes) {}

  record(ns: number): void {
    this.count++;
    this.sumNs += ns;
    if (ns < this.minNs) this.minNs = ns;
    if (ns > this.maxNs) this.maxNs = ns;
    if (ns <= 0) {
      this.zeros++;
      return;
    }
    // Bucket i holds (base^i, base^(i+1)].
    const index = Math.ceil(Math.log2(ns * 1e-9) * BUCKETS_PER_OCTAVE) - 1 - LOWEST_INDEX;
    const place = Math.min(Math.max(index, 0), BUCKETS - 1);
    this.buckets[place] = (this.buckets[place] ?? 0) + 1;
  }

  /** As the data model has it: the buckets between the first and the last that hold anything. */
  histogram(): metrics.ExponentialHistogram {
    const first = this.buckets.findIndex((count) => count > 0);
    const last = this.buckets.findLastIndex((count) => count > 0);
    return {
      count: this.count,
      sum: this.sumNs * 1e-9,
      min: this.minNs * 1e-9,
      max: this.maxNs * 1e-9,
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

export class PhaseMetrics implements metrics.MetricProducer {
  /** By executor, then layer + 1, then phase. */
  private readonly series: (Series | undefined)[][][] = [];

  /**
   * @param nameOf what an executor is called
   * @param now the epoch time
   * @param startTime since when is counted
   */
  constructor(
    private readonly nameOf: (executor: number) => string,
    private readonly now: () => HrTime,
    private readonly startTime: HrTime = now(),
  ) {}

  /** Counts a step's records. */
  record(timings: Float64Array): void {
    for (let at = 0; at + RECORD_WIDTH <= timings.length; at += RECORD_WIDTH) {
      const series = this.find(
        field(timings, at, FIELD.executor),
        field(timings, at, FIELD.layer),
        field(timings, at, FIELD.phase),
      );
      series.record(field(timings, at, FIELD.endNs) - field(timings, at, FIELD.startNs));
      series.active += field(timings, at, FIELD.active);
      series.bytes += field(timings, at, FIELD.bytes);
    }
  }

  collect(): Promise<metrics.CollectionResult> {
    const all = this.series.flat(2).filter((series) => series !== undefined);
    const scope = { name: "thermocline" };
    const scopeMetrics = all.length === 0 ? [] : [{ scope, metrics: this.metricsOf(all) }];
    return Promise.resolve({
      resourceMetrics: { resource: resources.emptyResource(), scopeMetrics },
      errors: [],
    });
  }

  private metricsOf(all: readonly Series[]): metrics.MetricData[] {
    const times = { startTime: this.startTime, endTime: this.now() };
    const aggregationTemporality = metrics.AggregationTemporality.CUMULATIVE;
    const total = (
      name: string,
      unit: string,
      description: string,
      of: (series: Series) => number,
    ): metrics.SumMetricData => ({
      descriptor: { name, unit, description, valueType: ValueType.INT },
      aggregationTemporality,
      dataPointType: metrics.DataPointType.SUM,
      isMonotonic: true,
      dataPoints: all
        .filter((series) => of(series) > 0)
        .map((series) => ({ ...times, attributes: series.attributes, value: of(series) })),
    });
    return [
      {
        descriptor: {
          name: METRICS.phaseDuration,
          unit: "s",
          description: "Time an executor spent in a phase of a layer, a step",
          valueType: ValueType.DOUBLE,
        },
        aggregationTemporality,
        dataPointType: metrics.DataPointType.EXPONENTIAL_HISTOGRAM,
        dataPoints: all.map((series) => ({
          ...times,
          attributes: series.attributes,
          value: series.histogram(),
        })),
      },
      total(METRICS.phaseActiveNeurons, "{neuron}", "(row, neuron) pairs that fired", ({ active }) => active),
      total(METRICS.phaseBytesTouched, "By", "Weight bytes read", ({ bytes }) => bytes),
    ];
  }

  private find(executor: number, layer: number, phase: number): Series {
    this.series[executor] ??= [];
    const ofExecutor = this.series[executor];
    ofExecutor[layer + 1] ??= [];
    const ofLayer = ofExecutor[layer + 1] ?? [];
    const known = ofLayer[phase];
    if (known !== undefined) return known;
    const series = new Series({
      [ATTRIBUTES.executor]: this.nameOf(executor),
      [ATTRIBUTES.phase]: PHASES[phase] ?? String(phase),
      ...(layer >= 0 ? { [ATTRIBUTES.layer]: layer } : {}),
    });
    ofLayer[phase] = series;
    return series;
  }
}
