/** Us beside the peer, turn by turn. */
import { type BenchmarkContext, type Figure, medianFigure } from "./benchmark.js";
import { LLAMA_CPP_ENTRY, Peer } from "./peer.js";
import { distribution } from "./statistics.js";

/** Opens the context's peer for `work`, if there is one, and ends it afterwards. @param positions it must hold */
export async function withPeer<T>(
  { peer, threads, remark, signal }: BenchmarkContext,
  positions: number,
  work: (peer: Peer | null) => Promise<T>,
): Promise<T> {
  if (peer === null) return work(null);
  const opened = await Peer.open({
    modelPath: peer.path,
    threads,
    contextLength: positions,
    signal,
    entry: LLAMA_CPP_ENTRY,
  });
  try {
    remark(`llama.cpp: ${opened.description}`);
    return await work(opened);
  } finally {
    await opened.close();
  }
}

/** Our value over the peer's of the same round, round by round. */
export function ratios(ours: readonly number[], theirs: readonly number[]): number[] {
  return ours.map((value, round) => value / (theirs[round] ?? Number.NaN));
}

export function ratioFigure(name: string, ours: readonly number[], theirs: readonly number[]): Figure {
  return medianFigure(`${name}, ours over llama.cpp's`, "×", distribution(ratios(ours, theirs)));
}

/** The ratio once more, to the peer's rate by its own clock, where that tells it for every turn. */
export function ownClockFigures(
  name: string,
  ours: readonly number[],
  theirs: readonly (number | null)[],
): Figure[] {
  const known = theirs.filter((rate) => rate !== null);
  if (known.length === 0 || known.length < theirs.length) return [];
  return [
    medianFigure(`${name}, llama.cpp by its own clock`, "tokens/s", distribution(known)),
    medianFigure(`${name}, ours over that`, "×", distribution(ratios(ours, known))),
  ];
}
