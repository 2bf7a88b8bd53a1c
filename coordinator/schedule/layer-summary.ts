/** Per-layer times of a request, from the timing records of the steps that decoded for it. */
import { PHASES, type Phase, TIMING_FIELDS } from "../../native/index.js";
import type { LayerLatency } from "./generation.js";

/** One layer in one step. */
export interface LayerTimes {
  startNs: number;
  endNs: number;
  attentionNs: number;
  predictNs: number;
  hotNs: number;
  coldNs: number;
  waitNs: number;
  mergeNs: number;
  rows: number;
  /** (row, neuron) pairs that fired. */
  activeHot: number;
  activeCold: number;
  placedHot: number;
  placedCold: number;
  bytes: number;
}

/** By layer; a layer whose records were lost is missing. */
export type StepLayers = ReadonlyMap<number, LayerTimes>;

/**
 * Divides a step's records (rows of TIMING_FIELDS) by layer.
 *
 * The times are the whole step's: requests that share a step see the same ones. The hot and cold halves run side by
 * side, so of several executors of a kind the slowest counts. Waits count only for the executor that holds the
 * residual (the one that ran attention): the others also wait for work, which is nobody's latency. The layer's wall
 * time goes from the first start to the last end of all records but those waits.
 */
export function stepLayers(timings: Float64Array): StepLayers {
  const records = readRecords(timings).filter((record) => record.layer >= 0);
  const owners = new Map<number, number>();
  for (const { phase, layer, executor } of records) if (phase === "attention") owners.set(layer, executor);

  const layers = new Map<number, LayerTimes>();
  for (const record of records) {
    if (record.phase === "wait" && owners.get(record.layer) !== record.executor) continue;
    const times = layers.get(record.layer) ?? emptyTimes();
    layers.set(record.layer, times);
    addRecord(times, record);
  }
  return layers;
}

/** Gathers the layer times of one request's decode steps. */
export class LayerSummary {
  private readonly steps = new Map<number, LayerTimes[]>();

  add(layers: StepLayers): void {
    for (const [layer, times] of layers) {
      const steps = this.steps.get(layer);
      if (steps === undefined) this.steps.set(layer, [times]);
      else steps.push(times);
    }
  }

  /** In the order of layers; empty when no step decoded. */
  latencies(): LayerLatency[] {
    return [...this.steps].sort(([a], [b]) => a - b).map(([layer, steps]) => summarize(layer, steps));
  }
}

function summarize(layer: number, steps: readonly LayerTimes[]): LayerLatency {
  const medianUs = (nsOf: (times: LayerTimes) => number) => median(steps.map(nsOf)) / 1000;
  const sum = (pick: (times: LayerTimes) => number) => steps.reduce((total, times) => total + pick(times), 0);
  const rows = Math.max(
    1,
    sum((times) => times.rows),
  );
  const last = steps.at(-1);
  return {
    layer,
    attentionUs: medianUs((times) => times.attentionNs),
    predictUs: medianUs((times) => times.predictNs),
    hotUs: medianUs((times) => times.hotNs),
    coldUs: medianUs((times) => times.coldNs),
    waitUs: medianUs((times) => times.waitNs),
    mergeUs: medianUs((times) => times.mergeNs),
    totalUs: medianUs((times) => times.endNs - times.startNs),
    activeHotNeurons: sum((times) => times.activeHot) / rows,
    activeColdNeurons: sum((times) => times.activeCold) / rows,
    placedHotNeurons: last?.placedHot ?? 0,
    placedColdNeurons: last?.placedCold ?? 0,
    bytesTouched: sum((times) => times.bytes) / steps.length,
  };
}

/** The middle number, or the mean of the middle two. */
function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort();
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2;
}

function emptyTimes(): LayerTimes {
  return {
    startNs: Number.POSITIVE_INFINITY,
    endNs: Number.NEGATIVE_INFINITY,
    attentionNs: 0,
    predictNs: 0,
    hotNs: 0,
    coldNs: 0,
    waitNs: 0,
    mergeNs: 0,
    rows: 0,
    activeHot: 0,
    activeCold: 0,
    placedHot: 0,
    placedCold: 0,
    bytes: 0,
  };
}

function addRecord(times: LayerTimes, record: TimingRecord): void {
  const ns = record.endNs - record.startNs;
  times.startNs = Math.min(times.startNs, record.startNs);
  times.endNs = Math.max(times.endNs, record.endNs);
  times.rows = Math.max(times.rows, record.rows);
  times.bytes += record.bytes;
  switch (record.phase) {
    case "attention":
      times.attentionNs += ns;
      break;
    case "predict":
      times.predictNs += ns;
      break;
    case "hot":
      times.hotNs = Math.max(times.hotNs, ns);
      times.activeHot += record.active;
      times.placedHot += record.placed;
      break;
    case "cold":
      times.coldNs = Math.max(times.coldNs, ns);
      times.activeCold += record.active;
      times.placedCold += record.placed;
      break;
    case "wait":
      times.waitNs += ns;
      break;
    case "merge":
      times.mergeNs += ns;
      break;
  }
}

type TimingField = Exclude<(typeof TIMING_FIELDS)[number], "phase">;
type TimingRecord = Record<TimingField, number> & { phase: Phase | null };

const WIDTH = TIMING_FIELDS.length;
const OFFSETS = Object.fromEntries(TIMING_FIELDS.map((field, offset) => [field, offset])) as Record<
  (typeof TIMING_FIELDS)[number],
  number
>;

function readRecords(timings: Float64Array): TimingRecord[] {
  return Array.from({ length: Math.floor(timings.length / WIDTH) }, (_, index) => {
    const field = (name: keyof typeof OFFSETS) => timings[index * WIDTH + OFFSETS[name]] ?? 0;
    return {
      step: field("step"),
      executor: field("executor"),
      layer: field("layer"),
      phase: PHASES[field("phase")] ?? null,
      startNs: field("startNs"),
      endNs: field("endNs"),
      rows: field("rows"),
      active: field("active"),
      placed: field("placed"),
      bytes: field("bytes"),
    };
  });
}
