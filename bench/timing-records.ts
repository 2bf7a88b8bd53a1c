/** A step's timing records as objects. */
export { type TimingRecord, timingRecords } from "../coordinator/telemetry/step-records.js";
