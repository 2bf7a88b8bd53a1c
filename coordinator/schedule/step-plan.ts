/** Which rows go into the next step. */
import type { StepRow } from "../../native/index.js";
import type { StepShare } from "../telemetry/observer.js";
import type { Sequence } from "./sequence.js";
import type { Wanted } from "./step.js";

/** A sequence's rows in one step, of which the last may want something. */
export interface PlannedShare extends StepShare {
  sequence: Sequence;
  wanted: Wanted;
}

export interface StepPlan {
  rows: StepRow[];
  shares: PlannedShare[];
}

/**
 * One row for every generating sequence, then chunks of the prompts still to be read, which share the room that is
 * left evenly: a long prompt takes more steps, never anybody's turn.
 *
 * @param sequences those in slots; there are at most `maxRows`. Each is advanced past the rows it gets.
 * @param turn a number that grows by one a step; whose prompt gets the odd rows of an uneven division goes round
 */
export function planStep(sequences: readonly Sequence[], maxRows: number, turn: number): StepPlan {
  const plan: StepPlan = { rows: [], shares: [] };
  const reading: Sequence[] = [];
  for (const sequence of sequences) {
    if (sequence.promptLeft > 0) reading.push(sequence);
    else if (!sequence.paused) addShare(plan, sequence, 1);
  }
  const wanted = reading.map((sequence) => sequence.promptLeft);
  const given = evenShares(wanted, maxRows - plan.rows.length, turn);
  reading.forEach((sequence, index) => {
    const rows = given[index] ?? 0;
    if (rows > 0) addShare(plan, sequence, rows);
  });
  return plan;
}

function addShare(plan: StepPlan, sequence: Sequence, rows: number): void {
  const stage = sequence.promptLeft > 0 ? "prefill" : "decode";
  const wanted = sequence.addRows(plan.rows, rows);
  plan.shares.push({ sequence, request: sequence.observer, stage, rows, wanted });
}

/**
 * Divides `room` so that nobody gets more than wanted, and nobody gets less than another except for wanting less or
 * for one odd row. Odd rows go to the places from `turn` on.
 */
export function evenShares(wanted: readonly number[], room: number, turn: number): number[] {
  const given = wanted.map(() => 0);
  const places = wanted.map((_, index) => (index + turn) % wanted.length);
  let left = room;
  let hungry = places.filter((place) => (wanted[place] ?? 0) > 0);
  while (left > 0 && hungry.length > 0) {
    const each = Math.max(1, Math.floor(left / hungry.length));
    for (const place of hungry) {
      const more = Math.min(each, left, (wanted[place] ?? 0) - (given[place] ?? 0));
      given[place] = (given[place] ?? 0) + more;
      left -= more;
    }
    hungry = hungry.filter((place) => (given[place] ?? 0) < (wanted[place] ?? 0));
  }
  return given;
}
