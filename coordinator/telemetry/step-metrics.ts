/**
 * Where time goes: every step, and in it every executor, layer and phase. A step has hundreds of timing records, so
 * these are counted here, at some ten nanoseconds each; through an instrument of the API it would be a microsecond.
 * The metric reader collects them as from any other producer.
 */
import { type Attributes, type HrTime, ValueType } from "@opentelemetry/api";
import { metrics, resources } from "@opentelemetry/sdk-node";
import { PHASES } from "../../native/index.js";
import type { StepResult } from "../schedule/step.js";
import { ExponentialHistogram } from "./exponential-histogram.js";
import { ATTRIBUTES, METRICS } from "./names.js";
import type { StepShare } from "./observer.js";
import { FIELD, field, RECORD_WIDTH } from "./timing-records.js";

const NS = 1e-9;

/** One executor's records of one phase of one layer. */
class PhaseSeries {
  readonly seconds = new ExponentialHistogram();
  active = 0;
  bytes = 0;

  constructor(readonly attributes: Attributes) {}
}

/** Steps of one stage. */
class StageSeries {
  readonly seconds = new ExponentialHistogram();
  readonly rows = new ExponentialHistogram();
  readonly attributes: Attributes;

  constructor(stage: string) {
    this.attributes = { [ATTRIBUTES.stage]: stage };
  }
}

type Times = Pick<metrics.DataPoint<number>, "startTime" | "endTime">;

export class StepMetrics implements metrics.MetricProducer {
  /** By executor, then layer + 1, then phase. */
  private readonly phases: (PhaseSeries | undefined)[][][] = [];
  private readonly stages = new Map<string, StageSeries>();

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

  /** Counts a step. */
  record({ startNs, endNs, timings }: StepResult, shares: readonly StepShare[]): void {
    const stage = this.stage(stageOf(shares));
    stage.seconds.record((endNs - startNs) * NS);
    stage.rows.record(rowsOf(shares));
    for (let at = 0; at + RECORD_WIDTH <= timings.length; at += RECORD_WIDTH) {
      const phase = this.phase(
        field(timings, at, FIELD.executor),
        field(timings, at, FIELD.layer),
        field(timings, at, FIELD.phase),
      );
      phase.seconds.record((field(timings, at, FIELD.endNs) - field(timings, at, FIELD.startNs)) * NS);
      phase.active += field(timings, at, FIELD.active);
      phase.bytes += field(timings, at, FIELD.bytes);
    }
  }

  collect(): Promise<metrics.CollectionResult> {
    const scope = { name: "thermocline" };
    const scopeMetrics = this.stages.size === 0 ? [] : [{ scope, metrics: this.metrics() }];
    return Promise.resolve({
      resourceMetrics: { resource: resources.emptyResource(), scopeMetrics },
      errors: [],
    });
  }

  private metrics(): metrics.MetricData[] {
    const times = { startTime: this.startTime, endTime: this.now() };
    const phases = this.phases.flat(2).filter((series) => series !== undefined);
    const stages = [...this.stages.values()];
    const seconds = (series: PhaseSeries | StageSeries) => series.seconds;
    return [
      histogram(times, METRICS.stepDuration, "s", "Wall time of a step", stages, seconds),
      histogram(times, METRICS.stepRows, "{row}", "Rows of a step", stages, ({ rows }) => rows),
      histogram(
        times,
        METRICS.phaseDuration,
        "s",
        "Time an executor spent in a phase of a layer, a step",
        phases,
        seconds,
      ),
      total(
        times,
        METRICS.phaseActiveNeurons,
        "{neuron}",
        "(row, neuron) pairs that fired",
        phases,
        ({ active }) => active,
      ),
      total(times, METRICS.phaseBytesTouched, "By", "Weight bytes read", phases, ({ bytes }) => bytes),
    ];
  }

  private stage(name: string): StageSeries {
    let series = this.stages.get(name);
    if (series === undefined) {
      series = new StageSeries(name);
      this.stages.set(name, series);
    }
    return series;
  }

  private phase(executor: number, layer: number, phase: number): PhaseSeries {
    this.phases[executor] ??= [];
    const ofExecutor = this.phases[executor];
    ofExecutor[layer + 1] ??= [];
    const ofLayer = ofExecutor[layer + 1] ?? [];
    const known = ofLayer[phase];
    if (known !== undefined) return known;
    const series = new PhaseSeries({
      [ATTRIBUTES.executor]: this.nameOf(executor),
      [ATTRIBUTES.phase]: PHASES[phase] ?? String(phase),
      ...(layer >= 0 ? { [ATTRIBUTES.layer]: layer } : {}),
    });
    ofLayer[phase] = series;
    return series;
  }
}

function histogram<T extends { attributes: Attributes }>(
  times: Times,
  name: string,
  unit: string,
  description: string,
  all: readonly T[],
  of: (series: T) => ExponentialHistogram,
): metrics.ExponentialHistogramMetricData {
  return {
    descriptor: { name, unit, description, valueType: ValueType.DOUBLE },
    aggregationTemporality: metrics.AggregationTemporality.CUMULATIVE,
    dataPointType: metrics.DataPointType.EXPONENTIAL_HISTOGRAM,
    dataPoints: all.map((series) => ({
      ...times,
      attributes: series.attributes,
      value: of(series).data(),
    })),
  };
}

function total<T extends { attributes: Attributes }>(
  times: Times,
  name: string,
  unit: string,
  description: string,
  all: readonly T[],
  of: (series: T) => number,
): metrics.SumMetricData {
  return {
    descriptor: { name, unit, description, valueType: ValueType.INT },
    aggregationTemporality: metrics.AggregationTemporality.CUMULATIVE,
    dataPointType: metrics.DataPointType.SUM,
    isMonotonic: true,
    dataPoints: all
      .filter((series) => of(series) > 0)
      .map((series) => ({ ...times, attributes: series.attributes, value: of(series) })),
  };
}

function stageOf(shares: readonly StepShare[]): string {
  const first = shares[0]?.stage ?? "mixed";
  return shares.every(({ stage }) => stage === first) ? first : "mixed";
}

export function rowsOf(shares: readonly StepShare[]): number {
  return shares.reduce((sum, { rows }) => sum + rows, 0);
}
