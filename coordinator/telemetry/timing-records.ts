/** Timing records as telemetry reads them: in place, since every step brings hundreds. */
import { TIMING_FIELDS } from "../../native/index.js";

export const RECORD_WIDTH = TIMING_FIELDS.length;

/** Offset of each field in a record. */
export const FIELD = Object.fromEntries(TIMING_FIELDS.map((field, offset) => [field, offset])) as Record<
  (typeof TIMING_FIELDS)[number],
  number
>;

/** One field of the record that begins at `record`. */
export function field(timings: Float64Array, record: number, offset: number): number {
  return timings[record + offset] ?? 0;
}
