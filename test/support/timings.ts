/** Timing records made by hand, laid out as TIMING_FIELDS of native/index.ts says. */
import { PHASES, type Phase, TIMING_FIELDS } from "../../native/index.js";

export interface TimingRecord {
  step: number;
  executor: number;
  /** -1 outside the layers. */
  layer: number;
  phase: Phase;
  startNs: number;
  endNs: number;
  rows: number;
  active: number;
  placed: number;
  bytes: number;
}

export function packTimings(records: readonly TimingRecord[]): Float64Array {
  return Float64Array.from(
    records.flatMap((record) => {
      const numbers = { ...record, phase: PHASES.indexOf(record.phase) };
      return TIMING_FIELDS.map((field) => numbers[field]);
    }),
  );
}
