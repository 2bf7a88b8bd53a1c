/** Turns a step's timing records into spans: `step` > `layer N` > one a record. */
import { type Attributes, type Context, type Link, type Span, trace } from "@opentelemetry/api";
import { PHASES } from "../../native/index.js";
import type { ClockMapping } from "./clock.js";
import { ATTRIBUTES } from "./names.js";
import { clip, type Interval, type LayerLayout, type StepLayout } from "./step-layout.js";
import { FIELD, field } from "./timing-records.js";
import type { Tracers } from "./tracers.js";

/** Phases that compute neurons; the others hold none. */
const NEURON_PHASES: ReadonlySet<string | undefined> = new Set(["predict", "hot", "cold"]);

export interface StepTraceOptions {
  tracers: Tracers;
  clock: ClockMapping;
  /** What an executor is called. */
  nameOf: (executor: number) => string;
  timings: Float64Array;
}

/** Makes the step's span alone. */
export function traceStep(
  { tracers, clock }: Pick<StepTraceOptions, "tracers" | "clock">,
  interval: Interval,
  parent: Context,
  attributes: Attributes,
  links: Link[],
): Span {
  const startTime = clock.toEpoch(interval.startNs);
  const span = tracers.coordinator.startSpan("step", { startTime, attributes, links }, parent);
  span.end(clock.toEpoch(interval.endNs));
  return span;
}

/** Makes the step's span and everything below it. */
export function traceStepDetail(
  options: StepTraceOptions,
  layout: StepLayout,
  parent: Context,
  attributes: Attributes,
): Span {
  const span = traceStep(options, layout, parent, attributes, []);
  const inStep = trace.setSpan(parent, span);
  for (const record of layout.others) {
    const isWait = PHASES[field(options.timings, record, FIELD.phase)] === "wait";
    traceRecord(options, record, isWait ? layout.afterLayers : layout, inStep);
  }
  for (const layer of layout.layers) traceLayer(options, layer, inStep);
  return span;
}

function traceLayer(options: StepTraceOptions, layer: LayerLayout, parent: Context): void {
  const { tracers, clock } = options;
  const span = tracers.coordinator.startSpan(
    `layer ${layer.layer}`,
    {
      startTime: clock.toEpoch(layer.startNs),
      attributes: {
        [ATTRIBUTES.layer]: layer.layer,
        [ATTRIBUTES.rows]: layer.rows,
        [ATTRIBUTES.activeNeurons]: layer.active,
        [ATTRIBUTES.bytesTouched]: layer.bytes,
      },
    },
    parent,
  );
  const inLayer = trace.setSpan(parent, span);
  for (const record of layer.records) traceRecord(options, record, layer, inLayer);
  span.end(clock.toEpoch(layer.endNs));
}

function traceRecord(options: StepTraceOptions, record: number, within: Interval, parent: Context): void {
  const { tracers, clock, nameOf, timings } = options;
  const read = (offset: number) => field(timings, record, offset);
  const interval = clip({ startNs: read(FIELD.startNs), endNs: read(FIELD.endNs) }, within);
  if (interval === null) return;
  const phase = PHASES[read(FIELD.phase)];
  const executor = nameOf(read(FIELD.executor));
  const attributes: Attributes = {
    [ATTRIBUTES.executor]: executor,
    [ATTRIBUTES.rows]: read(FIELD.rows),
    [ATTRIBUTES.bytesTouched]: read(FIELD.bytes),
  };
  if (read(FIELD.layer) >= 0) attributes[ATTRIBUTES.layer] = read(FIELD.layer);
  if (NEURON_PHASES.has(phase)) {
    attributes[ATTRIBUTES.activeNeurons] = read(FIELD.active);
    attributes[ATTRIBUTES.placedNeurons] = read(FIELD.placed);
  }
  tracers
    .executor(executor)
    .startSpan(phase ?? "unknown", { startTime: clock.toEpoch(interval.startNs), attributes }, parent)
    .end(clock.toEpoch(interval.endNs));
}
