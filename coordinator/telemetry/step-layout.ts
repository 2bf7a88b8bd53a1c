/** Where the spans of a step begin and end, so that each lies inside its parent. */
import { PHASES } from "../../native/index.js";
import type { StepResult } from "../schedule/step.js";
import { FIELD, field, RECORD_WIDTH } from "./timing-records.js";

const ATTENTION = PHASES.indexOf("attention");
const WAIT = PHASES.indexOf("wait");

export interface Interval {
  startNs: number;
  endNs: number;
}

export interface LayerLayout extends Interval {
  layer: number;
  rows: number;
  active: number;
  bytes: number;
  /** Where the layer's records begin in the timings. */
  records: number[];
}

export interface StepLayout extends Interval {
  /** In order, none beginning before the end of the one before. */
  layers: LayerLayout[];
  /** Where records outside the layers (embed, head, the wait for the last layer) begin. */
  others: number[];
  /** What follows the last layer. */
  afterLayers: Interval;
  /** Spans this makes: the step, its layers, and one a record. */
  spans: number;
}

/**
 * A layer goes from the first start to the last end of its records, but waits do not make it longer than it is: an
 * executor that is early begins to wait while the layer before is at work, and what of a wait lies inside its own
 * layer is shown. That is the residual's way from one executor to another, for the one that runs attention, and all
 * until the layer's input is there, for the others.
 */
export function layOut(result: StepResult): StepLayout {
  const { timings } = result;
  const records: number[] = [];
  const owners = new Map<number, number>();
  for (let at = 0; at + RECORD_WIDTH <= timings.length; at += RECORD_WIDTH) {
    // A record may be written after its step's end, and is then read with the next one's.
    if (field(timings, at, FIELD.step) !== result.step) continue;
    records.push(at);
    if (field(timings, at, FIELD.phase) === ATTENTION) {
      owners.set(field(timings, at, FIELD.layer), field(timings, at, FIELD.executor));
    }
  }

  const step: StepLayout = {
    startNs: result.startNs,
    endNs: result.endNs,
    layers: [],
    others: [],
    afterLayers: result,
    spans: 1,
  };
  const layers = new Map<number, LayerLayout>();
  for (const at of records) {
    const number = field(timings, at, FIELD.layer);
    if (number < 0) {
      step.others.push(at);
      continue;
    }
    let layer = layers.get(number);
    if (layer === undefined) {
      layer = {
        layer: number,
        startNs: Infinity,
        endNs: -Infinity,
        rows: 0,
        active: 0,
        bytes: 0,
        records: [],
      };
      layers.set(number, layer);
    }
    layer.records.push(at);
    layer.rows = Math.max(layer.rows, field(timings, at, FIELD.rows));
    layer.active += field(timings, at, FIELD.active);
    layer.bytes += field(timings, at, FIELD.bytes);
    const foreignWait =
      field(timings, at, FIELD.phase) === WAIT && owners.get(number) !== field(timings, at, FIELD.executor);
    if (foreignWait) continue;
    layer.startNs = Math.min(layer.startNs, field(timings, at, FIELD.startNs));
    layer.endNs = Math.max(layer.endNs, field(timings, at, FIELD.endNs));
  }

  let rest: Interval = { startNs: step.startNs, endNs: step.endNs };
  for (const layer of [...layers.values()].sort((a, b) => a.layer - b.layer)) {
    const inside = clip(layer, rest);
    // All that is left of a layer whose records were overwritten may be somebody's wait for it.
    if (inside === null) continue;
    step.layers.push({ ...layer, ...inside });
    rest = { startNs: inside.endNs, endNs: step.endNs };
  }
  step.afterLayers = rest;
  step.spans += step.others.length;
  for (const layer of step.layers) step.spans += 1 + layer.records.length;
  return step;
}

/** The part of an interval that lies inside `parent`; null when nothing does. */
export function clip({ startNs, endNs }: Interval, parent: Interval): Interval | null {
  const start = Math.max(startNs, parent.startNs);
  const end = Math.min(endNs, parent.endNs);
  return start <= end ? { startNs: start, endNs: end } : null;
}
