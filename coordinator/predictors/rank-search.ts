/** Finds the predictor of a layer that reads the fewest bytes at the recall that was asked for. */
import type { FittedPredictor, PredictorKind } from "../../native/index.js";

export interface Candidate {
  kind: PredictorKind;
  rank: number;
}

/** A predictor that was made and measured. */
export interface Measured extends Candidate {
  fitted: FittedPredictor;
  /** It finds as much as was asked for. */
  meets: boolean;
  /** Bytes a token reads with it: the predictor and the gates of what it takes for active. */
  bytes: number;
}

export interface RankSearch {
  /** Ranks are its multiples: stored rows are whole blocks. */
  step: number;
  /** Also of directions, which the input's width limits. */
  mostRank: number;
  embd: number;
  /** Bytes of a predictor of that rank, without what it lets be read. */
  predictorBytes: (rank: number) => number;
  /** What there is to save: bytes of all gates. */
  gateBytes: number;
  measure: (candidate: Candidate) => Promise<Measured>;
}

/**
 * Measures untrained predictors of ranks that double, largest first (what a layer's gates are made of is then found
 * once), and trains from the best one's rank on: half and twice as much while that reads fewer bytes, then between.
 * A rank whose predictor alone is no cheaper than the best so far is left out.
 *
 * @returns all that were measured, the best first; those that do not meet the recall come last
 */
export async function searchRanks(search: RankSearch): Promise<Measured[]> {
  const { step, mostRank, embd, predictorBytes, gateBytes, measure } = search;
  const measured = new Map<string, Measured>();
  const best = () => [...measured.values()].sort(byBytes)[0];
  const look = async (kind: PredictorKind, rank: number): Promise<Measured | null> => {
    const known = measured.get(`${kind} ${rank}`);
    if (known !== undefined) return known;
    const first = best();
    const limit = first?.meets === true ? Math.min(first.bytes, gateBytes) : gateBytes;
    if (rank < step || rank > mostRank || predictorBytes(rank) >= limit) return null;
    const found = await measure({ kind, rank });
    measured.set(`${kind} ${rank}`, found);
    return found;
  };
  for (const rank of doublings(step, mostRank).reverse()) {
    if (rank - 1 <= embd) await look("shifted", rank);
    if (rank / 2 <= embd) await look("paired", rank);
  }
  const start = best()?.rank;
  if (start === undefined) return [];
  let at = await look("trained", start);
  for (const factor of [1 / 2, 2]) {
    for (let rank = start * factor; ; rank *= factor) {
      const next = await look("trained", wholeSteps(rank, step));
      if (next === null || (at !== null && byBytes(next, at) >= 0)) break;
      at = next;
    }
  }
  // Between the best and its neighbours, for what a factor of two is too coarse for.
  if (at !== null) {
    for (const factor of [3 / 4, 3 / 2]) await look("trained", wholeSteps(at.rank * factor, step));
  }
  return [...measured.values()].sort(byBytes);
}

/** Negative when `a` is the better one. */
export function byBytes(a: Measured, b: Measured): number {
  if (a.meets !== b.meets) return a.meets ? -1 : 1;
  return a.meets ? a.bytes - b.bytes : recall(b) - recall(a);
}

function recall({ fitted: { calibration } }: Measured): number {
  return calibration.found / Math.max(1, calibration.fired);
}

function doublings(step: number, most: number): number[] {
  const ranks: number[] = [];
  for (let rank = step; rank <= most; rank *= 2) ranks.push(rank);
  return ranks;
}

function wholeSteps(rank: number, step: number): number {
  return Math.round(rank / step) * step;
}
