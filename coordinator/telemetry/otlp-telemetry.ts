/** Telemetry that is switched on: traces and metrics over OTLP/gRPC. Loaded only then: the SDK takes half a second. */
import { setTimeout as delay } from "node:timers/promises";
import type { Attributes, Context, SpanContext } from "@opentelemetry/api";
import { OTLPMetricExporter } from "@opentelemetry/exporter-metrics-otlp-grpc";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-grpc";
import { metrics } from "@opentelemetry/sdk-node";
import type { ExchangeRound } from "../placement/re-placement.js";
import type { FinishReason } from "../schedule/generation.js";
import type { StepResult } from "../schedule/step.js";
import { EpochClock, monotonicNs } from "./clock.js";
import { executorName } from "./executor-names.js";
import { ExportWatch } from "./export-watch.js";
import { ATTRIBUTES, GEN_AI } from "./names.js";
import type { Observer, RequestObserver, StepShare } from "./observer.js";
import { RePlacementMetrics, traceRePlacement } from "./re-placement-telemetry.js";
import { RequestMetrics } from "./request-metrics.js";
import { REQUEST_SPANS, RequestTrace } from "./request-trace.js";
import { SpanBudget } from "./span-budget.js";
import { BATCH_SPANS, QUEUE_SPANS, SpanQueue } from "./span-queue.js";
import { layOut } from "./step-layout.js";
import { rowsOf, StepMetrics } from "./step-metrics.js";
import { traceStep, traceStepDetail } from "./step-trace.js";
import type { Telemetry, TelemetryOptions } from "./telemetry.js";
import { serviceResource, Tracers } from "./tracers.js";

/** A receiver on the same machine or network answers in milliseconds, and shutting down must not wait for longer. */
const EXPORT_TIMEOUT_MS = 1000;
const SHUTDOWN_MS = 1000;
const METRICS_INTERVAL_MS = 10_000;

export class OtlpTelemetry implements Telemetry, Observer {
  readonly observer: Observer = this;
  private readonly clock = new EpochClock();
  private readonly budget = new SpanBudget(monotonicNs());
  private readonly watch: ExportWatch;
  private readonly queue: SpanQueue;
  private readonly tracers: Tracers;
  private readonly meters: metrics.MeterProvider;
  private readonly stepMetrics: StepMetrics;
  private readonly requestMetrics: RequestMetrics;
  private readonly rePlacementMetrics: RePlacementMetrics;

  /** @param url of the receiver */
  constructor(
    url: string,
    private readonly options: TelemetryOptions,
  ) {
    this.watch = new ExportWatch(options.log);
    const settings = { url, timeoutMillis: EXPORT_TIMEOUT_MS };
    // Flushing sends all batches at once; above its limit the exporter would refuse them.
    const concurrencyLimit = Math.ceil(QUEUE_SPANS / BATCH_SPANS) + 1;
    const exporter = new OTLPTraceExporter({ ...settings, concurrencyLimit });
    this.queue = new SpanQueue(exporter, this.watch, EXPORT_TIMEOUT_MS);
    this.tracers = new Tracers(this.queue, options.traceRatio);
    this.stepMetrics = new StepMetrics(
      (executor) => executorName(executor, options.executors()),
      () => this.clock.mapping().toEpoch(monotonicNs()),
    );
    this.meters = new metrics.MeterProvider({
      resource: serviceResource("thermocline-coordinator"),
      readers: [
        new metrics.PeriodicExportingMetricReader({
          exporter: new WatchedMetricExporter(settings, this.watch),
          metricProducers: [this.stepMetrics],
          exportIntervalMillis: METRICS_INTERVAL_MS,
          // The exporter has a deadline itself, and tells what became of it; this one must not come first.
          exportTimeoutMillis: 2 * EXPORT_TIMEOUT_MS,
        }),
      ],
    });
    const meter = this.meters.getMeter("thermocline");
    this.rePlacementMetrics = new RePlacementMetrics(meter);
    this.requestMetrics = new RequestMetrics(meter, {
      [GEN_AI.operation]: "text_completion",
      [GEN_AI.provider]: "thermocline",
      [GEN_AI.requestModel]: options.model,
    });
  }

  request(parent: Context, promptTokens: number): RequestObserver {
    const arrivedNs = monotonicNs();
    const trace = RequestTrace.begin({
      tracers: this.tracers,
      clock: this.clock.mapping(),
      model: this.options.model,
      parent,
      arrivedNs,
      promptTokens,
    });
    if (trace !== null) this.budget.spend(REQUEST_SPANS);
    return new ObservedRequest(trace, this.requestMetrics, arrivedNs);
  }

  step(result: StepResult, shares: readonly StepShare[]): void {
    this.stepMetrics.record(result, shares);
    const traced = shares.flatMap((share) => {
      const trace = share.request instanceof ObservedRequest ? share.request.openTrace : null;
      return trace === null ? [] : [{ share, trace, first: trace.isFirst(share.stage) }];
    });
    // A step's detail is the same for all requests in it, so one of them gets it, and the others a link to it: one
    // for which it is the first step of its stage, if any, since later steps get detail only as the budget allows.
    const main = traced.find(({ first }) => first) ?? traced[0];
    if (main === undefined) return;
    const detail = this.traceDetail(result, shares, main);
    for (const { share, trace } of traced) {
      if (share === main.share) continue;
      const context = trace.step(share.stage, result, false);
      if (detail === null) continue;
      this.budget.spend(1);
      const attributes = stepAttributes(result, shares, share);
      traceStep({ tracers: this.tracers, clock: trace.clock }, result, context, attributes, [
        { context: detail },
      ]);
    }
  }

  rePlaced(round: ExchangeRound): void {
    this.rePlacementMetrics.record(round);
    this.budget.spend(traceRePlacement(this.tracers, this.clock.mapping(), round));
  }

  async shutdown(): Promise<void> {
    const flushed = Promise.allSettled([this.queue.shutdown(), this.meters.shutdown()]).then(() => true);
    const deadline = new AbortController();
    const late = delay(SHUTDOWN_MS, false, { signal: deadline.signal }).catch(() => false);
    const inTime = await Promise.race([flushed, late]);
    deadline.abort();
    this.watch.flush();
    if (!inTime) {
      this.options.log.warn(`telemetry that the receiver did not take within ${SHUTDOWN_MS} ms was lost`);
    }
  }

  /** Makes the spans of a step below one request, if the budget allows. @returns the step's span */
  private traceDetail(
    result: StepResult,
    shares: readonly StepShare[],
    main: TracedShare,
  ): SpanContext | null {
    const { share, trace, first } = main;
    const layout = this.budget.allows(first, result.endNs) ? layOut(result) : null;
    const affordable = layout !== null && this.queue.reserve(layout.spans);
    const context = trace.step(share.stage, result, affordable);
    if (!affordable) return null;
    this.budget.spend(layout.spans);
    const kinds = this.options.executors();
    const names = kinds.map((_, index) => executorName(index, kinds));
    const span = traceStepDetail(
      {
        tracers: this.tracers,
        clock: trace.clock,
        nameOf: (executor) => names[executor] ?? executorName(executor, kinds),
        timings: result.timings,
      },
      layout,
      context,
      stepAttributes(result, shares, share),
    );
    return span.spanContext();
  }
}

interface TracedShare {
  share: StepShare;
  trace: RequestTrace;
  /** Whether this is the first step of its stage. */
  first: boolean;
}

function stepAttributes(result: StepResult, shares: readonly StepShare[], share: StepShare): Attributes {
  return {
    [ATTRIBUTES.step]: result.step,
    [ATTRIBUTES.stage]: share.stage,
    [ATTRIBUTES.rows]: rowsOf(shares),
    [ATTRIBUTES.requestRows]: share.rows,
    [ATTRIBUTES.requests]: shares.length,
  };
}

class ObservedRequest implements RequestObserver {
  private firstTokenNs: number | null = null;
  private ended = false;

  constructor(
    private readonly trace: RequestTrace | null,
    private readonly metrics: RequestMetrics,
    private readonly arrivedNs: number,
  ) {
    metrics.arrived();
  }

  get traceId(): string {
    return this.trace?.traceId ?? "";
  }

  /** Null when the request is not sampled, or over: its last step may end after it. */
  get openTrace(): RequestTrace | null {
    return this.ended ? null : this.trace;
  }

  admitted(): void {
    this.metrics.admitted((monotonicNs() - this.arrivedNs) * 1e-9);
  }

  firstToken(): void {
    this.firstTokenNs = monotonicNs();
    this.metrics.firstToken((this.firstTokenNs - this.arrivedNs) * 1e-9);
  }

  finished(outcome: FinishReason | Error, promptTokens: number, generatedTokens: number): void {
    const endNs = monotonicNs();
    this.ended = true;
    this.metrics.finished(
      outcome,
      promptTokens,
      generatedTokens,
      (endNs - this.arrivedNs) * 1e-9,
      this.firstTokenNs === null ? null : (endNs - this.firstTokenNs) * 1e-9,
    );
    this.trace?.finish(outcome, generatedTokens, endNs);
  }
}

class WatchedMetricExporter extends OTLPMetricExporter {
  constructor(
    settings: ConstructorParameters<typeof OTLPMetricExporter>[0],
    private readonly watch: ExportWatch,
  ) {
    super(settings);
  }

  override export(...[batch, done]: Parameters<OTLPMetricExporter["export"]>): void {
    super.export(batch, (result) => {
      if (result.error !== undefined) this.watch.metricsFailed(result.error);
      done(result);
    });
  }
}
