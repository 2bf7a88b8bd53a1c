/**
 * How far logits may lie from a reference when nothing but the number formats is to blame, from runs of the oracle
 * with random rounding (see rounding.ts).
 *
 * An error is measured in units of its row's sigma, the root mean square error of the row's logits over all runs. Two
 * statistics of a comparison are judged: the largest error, which shows a fault in one place, and the root mean
 * square of all errors, which shows a small fault everywhere. Each has its own limit: the one-sided prediction limit
 * for one more draw from the same population (Hahn and Meeker 1991, section 4.6), taken over the logarithms of the
 * runs' statistics:
 *
 *     limit = exp(mean + t * deviation * sqrt(1 + 1/runs)),  t = Student's t with runs - 1 degrees of freedom at
 *                                                            probability FALSE_ALARM
 *
 * Student's t pays for the small number of runs. The logarithm is the margin for tails that are not normal: maxima of
 * many normal errors and roots of mean squares both have lighter right tails than the log-normal assumed here.
 */

import { Random } from "../support/random.js";
import { forward } from "./forward.js";
import type { OracleModel } from "./model.js";
import type { Rounding } from "./rounding.js";
import { studentT } from "./student-t.js";

/** Probability that a faultless comparison fails; thousands of comparisons stay below one percent. */
const FALSE_ALARM = 1e-6;

/** Runs with random rounding; t is then 7 and falls only slowly with more. */
const RUNS = 16;

export type Rows = readonly ArrayLike<number>[];

export interface Statistics {
  /** Largest error over its row's sigma. */
  largest: number;
  /** Root mean square of all errors over their rows' sigmas. */
  rms: number;
}

export interface Judgement {
  errors: Statistics;
  limits: Statistics;
  /** The larger of both errors over their limits: above 1 something other than rounding is at work. */
  ratio: number;
}

export class Tolerance {
  private constructor(
    private readonly reference: Rows,
    /** Root mean square error of each row. */
    readonly sigmas: readonly number[],
    readonly limits: Statistics,
  ) {}

  /** Of rows that should equal `reference`; `runs` holds what faultless machines may give for them. */
  static fromRuns(reference: Rows, runs: readonly Rows[]): Tolerance {
    const sigmas = reference.map((row, r) =>
      Math.sqrt(mean(runs.map((run) => meanSquare(difference(run[r], row))))),
    );
    const statistics = runs.map((run) => measure(reference, sigmas, run));
    return new Tolerance(reference, sigmas, {
      largest: predictionLimit(statistics.map(({ largest }) => largest)),
      rms: predictionLimit(statistics.map(({ rms }) => rms)),
    });
  }

  /** Of a machine's logits against the oracle's, for each sequence of tokens in turn. */
  static ofMachine(
    model: OracleModel,
    sequences: readonly (readonly number[])[],
    machine: (random: Random) => Rounding,
  ): Tolerance {
    const reference = sequences.flatMap((tokens) => forward(model, tokens));
    return Tolerance.fromRuns(reference, runsOf(model, sequences, machine, 1));
  }

  /** Of the differences between two machines' logits: {@link judge} takes one's minus the other's. */
  static betweenMachines(
    model: OracleModel,
    sequences: readonly (readonly number[])[],
    first: (random: Random) => Rounding,
    second: (random: Random) => Rounding,
  ): Tolerance {
    const minuends = runsOf(model, sequences, first, 1);
    const subtrahends = runsOf(model, sequences, second, 1 + RUNS);
    const runs = minuends.map((run, i) => run.map((row, r) => difference(row, subtrahends[i]?.[r])));
    const zeros = (runs[0] ?? []).map((row) => new Float64Array(row.length));
    return Tolerance.fromRuns(zeros, runs);
  }

  /** The largest gap between two logits of a row that rounding may close: both err, each by its own sigma. */
  closeableGap(row: number): number {
    return studentT(FALSE_ALARM, RUNS - 1) * Math.SQRT2 * (this.sigmas[row] ?? 0);
  }

  /** @param rows the rows to judge, or some of them: `indices` says which of the reference's each one is */
  judge(rows: Rows, indices: readonly number[] = [...this.reference.keys()]): Judgement {
    const errors = measure(
      indices.map((i) => this.reference[i] ?? []),
      indices.map((i) => this.sigmas[i] ?? 0),
      rows,
    );
    const ratio = Math.max(errors.largest / this.limits.largest, errors.rms / this.limits.rms);
    return { errors, limits: this.limits, ratio };
  }
}

function runsOf(
  model: OracleModel,
  sequences: readonly (readonly number[])[],
  machine: (random: Random) => Rounding,
  seed: number,
): Float64Array[][] {
  return Array.from({ length: RUNS }, (_, run) => {
    const rounding = machine(new Random(seed + run));
    return sequences.flatMap((tokens) => forward(model, tokens, rounding));
  });
}

function measure(reference: Rows, sigmas: readonly number[], rows: Rows): Statistics {
  if (rows.length !== reference.length) {
    throw new RangeError(`${rows.length} rows to compare with ${reference.length}`);
  }
  let largest = 0;
  const squares = rows.map((row, r) => {
    const scaled = difference(row, reference[r]).map((error) => error / (sigmas[r] ?? 0));
    largest = scaled.reduce((most, error) => Math.max(most, Math.abs(error)), largest);
    return meanSquare(scaled);
  });
  return { largest, rms: Math.sqrt(mean(squares)) };
}

function predictionLimit(statistics: readonly number[]): number {
  const runs = statistics.length;
  const logs = statistics.map(Math.log);
  const centre = mean(logs);
  const variance = logs.reduce((sum, log) => sum + (log - centre) ** 2, 0) / (runs - 1);
  return Math.exp(centre + studentT(FALSE_ALARM, runs - 1) * Math.sqrt(variance * (1 + 1 / runs)));
}

function difference(a: ArrayLike<number> | undefined, b: ArrayLike<number> | undefined): Float64Array {
  if (a === undefined || b === undefined || a.length !== b.length) {
    throw new RangeError(`rows of ${a?.length} and ${b?.length} logits cannot be compared`);
  }
  return Float64Array.from(a, (value, i) => value - (b[i] ?? 0));
}

function meanSquare(values: Float64Array): number {
  return values.reduce((sum, value) => sum + value * value, 0) / values.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
