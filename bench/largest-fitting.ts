/** The largest of some sizes that fit, of which each takes about as much more than the one before. */

/** After so many looks that an estimate led to, halving what is left needs fewer. */
const ESTIMATED_LOOKS = 4;

export interface FittingSearch {
  /** Sizes go from 0 to this one. */
  most: number;
  /** Where to look first. */
  first: number;
  /** What one more takes, about, in the unit of what is measured. */
  step: number;
  limit: number;
}

/**
 * @param measure what a size takes; Infinity when it cannot be had at all
 * @returns the largest size that takes at most `limit`, or null when even 0 does not fit
 */
export async function largestFitting(
  { most, first, step, limit }: FittingSearch,
  measure: (size: number) => Promise<number>,
): Promise<number | null> {
  let fits = -1;
  let fails = most + 1;
  let next = first;
  for (let looks = 1; fails - fits > 1; looks++) {
    const size = Math.min(Math.max(next, fits + 1), fails - 1);
    const taken = await measure(size);
    if (taken <= limit) fits = size;
    else fails = size;
    const guess = size + Math.floor((limit - taken) / step);
    next = looks < ESTIMATED_LOOKS && Number.isFinite(guess) ? guess : Math.floor((fits + fails) / 2);
  }
  return fits === -1 ? null : fits;
}
