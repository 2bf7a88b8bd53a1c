import type { ArenaOptions, StepRow } from "../../native/index.js";

export const SMALL: ArenaOptions = {
  executors: 2,
  layers: 3,
  embd: 8,
  ff: 100,
  vocab: 50,
  maxRows: 4,
  maxLogitRows: 2,
  observation: "none",
};

export function row(fields: Partial<StepRow> = {}): StepRow {
  return { token: 1, position: 0, slot: 0, wantsLogits: false, ...fields };
}
