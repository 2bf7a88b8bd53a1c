/** Order statistics and the order in which runs are taken. */

/** What a set of measurements looks like; all in the measurements' own unit. */
export interface Distribution {
  count: number;
  median: number;
  /** First and third quartile: the middle half of the measurements lies between them. */
  q1: number;
  q3: number;
  p99: number;
}

/** @throws RangeError when there are no values */
export function distribution(values: readonly number[]): Distribution {
  const sorted = Float64Array.from(values).sort();
  return {
    count: sorted.length,
    median: quantileOf(sorted, 0.5),
    q1: quantileOf(sorted, 0.25),
    q3: quantileOf(sorted, 0.75),
    p99: quantileOf(sorted, 0.99),
  };
}

/** The middle value, or the mean of the middle two. @throws RangeError when there are no values */
export function median(values: readonly number[]): number {
  return quantileOf(Float64Array.from(values).sort(), 0.5);
}

/** Linear interpolation between the closest ranks: definition 7 of Hyndman and Fan (1996). */
function quantileOf(sorted: Float64Array, share: number): number {
  if (sorted.length === 0) throw new RangeError("no values to take a quantile of");
  const rank = (sorted.length - 1) * share;
  const low = Math.floor(rank);
  const below = sorted[low] ?? Number.NaN;
  const above = sorted[Math.ceil(rank)] ?? Number.NaN;
  return below + (above - below) * (rank - low);
}

/**
 * Rounds in which every contender has one turn, forward and backward in turn: what drifts while they are measured (a
 * clock that slows as it warms, a neighbour who wakes up) then meets all of them alike.
 */
export function interleaved<T>(contenders: readonly T[], rounds: number): T[] {
  return Array.from({ length: rounds }, (_, round) =>
    round % 2 === 0 ? [...contenders] : [...contenders].reverse(),
  ).flat();
}
