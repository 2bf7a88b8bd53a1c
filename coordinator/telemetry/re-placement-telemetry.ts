/** A span and metrics of each round in which neurons changed places. */
import { type Counter, type Histogram, type Meter, ROOT_CONTEXT, trace } from "@opentelemetry/api";
import type { ExchangeRound } from "../placement/re-placement.js";
import type { ClockMapping } from "./clock.js";
import { ATTRIBUTES, METRICS } from "./names.js";
import type { Tracers } from "./tracers.js";

const NS = 1e-9;
/** From a copy of some rows to reading a few MB from a slow disk. */
const SECONDS = [
  0.00001, 0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10,
];
/** A round's own, and one each for its two parts. */
const SPANS = 3;

export class RePlacementMetrics {
  private readonly neurons: Counter;
  private readonly bytes: Counter;
  private readonly duration: Histogram;

  constructor(meter: Meter) {
    this.neurons = meter.createCounter(METRICS.movedNeurons, {
      unit: "{neuron}",
      description: "Neurons that moved to another executor while requests ran",
    });
    this.bytes = meter.createCounter(METRICS.movedBytes, {
      unit: "By",
      description: "Weight bytes copied for them",
    });
    this.duration = meter.createHistogram(METRICS.rePlacementDuration, {
      unit: "s",
      description:
        "Time to read a round's weights beside the steps (stage), and of a step to copy them (apply)",
      advice: { explicitBucketBoundaries: SECONDS },
    });
  }

  record({ neurons, bytes, staging, applying }: ExchangeRound): void {
    this.neurons.add(neurons);
    this.bytes.add(bytes);
    this.duration.record((staging.endNs - staging.startNs) * NS, { [ATTRIBUTES.part]: "stage" });
    this.duration.record((applying.endNs - applying.startNs) * NS, { [ATTRIBUTES.part]: "apply" });
  }
}

/** Makes a trace of the round's own: `re-placement` > `stage`, `apply`. @returns how many spans that takes */
export function traceRePlacement(tracers: Tracers, clock: ClockMapping, round: ExchangeRound): number {
  const { layers, neurons, bytes, step, staging, applying } = round;
  const span = tracers.coordinator.startSpan(
    "re-placement",
    {
      root: true,
      startTime: clock.toEpoch(staging.startNs),
      attributes: {
        [ATTRIBUTES.movedLayers]: layers,
        [ATTRIBUTES.movedNeurons]: neurons,
        [ATTRIBUTES.movedBytes]: bytes,
        [ATTRIBUTES.step]: step,
      },
    },
    ROOT_CONTEXT,
  );
  const inRound = trace.setSpan(ROOT_CONTEXT, span);
  for (const [name, { startNs, endNs }] of [
    ["stage", staging],
    ["apply", applying],
  ] as const) {
    const part = tracers.coordinator.startSpan(name, { startTime: clock.toEpoch(startNs) }, inRound);
    part.end(clock.toEpoch(endNs));
  }
  span.end(clock.toEpoch(applying.endNs));
  return SPANS;
}
