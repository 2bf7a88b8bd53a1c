/** A step's timing records as objects. */
import { PHASES, type Phase } from "../../native/index.js";
import { FIELD, field, RECORD_WIDTH } from "./timing-records.js";

export interface TimingRecord {
  executor: number;
  /** -1 outside the layers. */
  layer: number;
  phase: Phase;
  startNs: number;
  endNs: number;
  /** (row, neuron) pairs that fired. */
  active: number;
  /** Neurons the executor holds in this layer. */
  placed: number;
  /** Weight bytes read. */
  bytes: number;
}

/** In the order they were drained: each executor's in the order of time. */
export function timingRecords({ step, timings }: { step: number; timings: Float64Array }): TimingRecord[] {
  const records: TimingRecord[] = [];
  for (let at = 0; at + RECORD_WIDTH <= timings.length; at += RECORD_WIDTH) {
    const phase = PHASES[field(timings, at, FIELD.phase)];
    // A record may be written after its step's end, and is then read with the next one's.
    if (phase === undefined || field(timings, at, FIELD.step) !== step) continue;
    records.push({
      executor: field(timings, at, FIELD.executor),
      layer: field(timings, at, FIELD.layer),
      phase,
      startNs: field(timings, at, FIELD.startNs),
      endNs: field(timings, at, FIELD.endNs),
      active: field(timings, at, FIELD.active),
      placed: field(timings, at, FIELD.placed),
      bytes: field(timings, at, FIELD.bytes),
    });
  }
  return records;
}
