/** Us beside the peer, turn by turn. */
import { formatBytes } from "../proto/units.js";
import { type BenchmarkContext, type Figure, medianFigure, singleFigure } from "./benchmark.js";
import { LLAMA_CPP_ENTRY, Peer, type PeerProcess } from "./peer.js";
import { openOnCard, releaseFromCard, type Trial } from "./peer-on-card.js";
import { distribution } from "./statistics.js";

const MIB = 1024 ** 2;

/** Its layers on the card, as figures name them. */
export const PEER_LAYERS = "layers on the card, llama.cpp";

/**
 * Opens the context's peer for `work`, if there is one, and ends it afterwards.
 * @param positions it must hold
 * @param trial tells how many of its layers are best on a card, where we are on one; null keeps it on the CPU
 * @param entry its program; another one only in tests
 * @returns what `work` does, and what the peer had of the card
 */
export async function withPeer(
  context: BenchmarkContext,
  positions: number,
  trial: Trial | null,
  work: (peer: Peer | null) => Promise<Figure[]>,
  entry = LLAMA_CPP_ENTRY,
): Promise<Figure[]> {
  const { peer, threads, remark, signal, devices, vramBudgetBytes, peerGpuLayers, progress } = context;
  if (peer === null) return work(null);
  const options: PeerProcess = {
    ...{ modelPath: peer.path, threads, contextLength: positions, signal },
    entry,
  };
  if (trial === null || devices?.[0] !== "cuda" || vramBudgetBytes === null) {
    const opened = await Peer.open({ ...options, gpuLayers: null });
    return endingIt(opened, async () => {
      remark(`llama.cpp: ${opened.description}`);
      return work(opened);
    });
  }
  progress("llama.cpp: looking for its best number of layers on the card");
  const choice = { budgetBytes: vramBudgetBytes, given: peerGpuLayers, trial };
  const opened = await openOnCard(options, choice, (text) => remark(`llama.cpp: ${text}`));
  return endingIt(opened, async () => {
    remark(`llama.cpp: ${opened.description}`);
    const figures = await work(opened);
    const { layers, totalLayers } = opened.gpu ?? { layers: 0, totalLayers: 0 };
    const vramBytes = await releaseFromCard(opened);
    const budget = formatBytes(vramBudgetBytes);
    remark(
      `llama.cpp: ${formatBytes(vramBytes)} of the card's memory in use, ` +
        (vramBytes <= vramBudgetBytes ? `of a budget of ${budget}` : `more than the budget of ${budget}`),
    );
    return [
      ...figures,
      singleFigure(PEER_LAYERS, `of ${totalLayers}`, layers),
      singleFigure("card memory in use, llama.cpp", "MiB", vramBytes / MIB),
      singleFigure("card memory, budget", "MiB", vramBudgetBytes / MIB),
    ];
  });
}

async function endingIt<T>(peer: Peer, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } finally {
    await peer.close();
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
