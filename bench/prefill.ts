/** Reading one prompt: tokens a second from its first step's start to its last one's end, which gives a token. */
import { Xoshiro256 } from "../coordinator/schedule/random.js";
import {
  type Benchmark,
  type BenchmarkContext,
  type Figure,
  medianFigure,
  singleFigure,
} from "./benchmark.js";
import type { Peer } from "./peer.js";
import type { Trial } from "./peer-on-card.js";
import {
  contendingDevices,
  type Generation,
  GREEDY,
  type StackUnderTest,
  stackOptions,
  withStacks,
} from "./stack-under-test.js";
import { distribution } from "./statistics.js";
import { type Contender, takeTurns } from "./turns.js";
import { ownClockFigures, ratioFigure, withPeer } from "./versus.js";
import { type TokenWork, tokenWork, workFigures } from "./work.js";

/** One prompt's figures. */
interface PrefillTurn {
  tokensPerS: number;
  /** Null for the peer, which keeps no records. */
  work: TokenWork | null;
  /** The peer's own clock; null for us, or where it tells nothing. */
  peerTokensPerS: number | null;
}

export const prefill: Benchmark = async (context) => {
  const { promptTokens } = context;
  const devices = contendingDevices(context);
  const options = devices.map((device) => stackOptions(context, device));
  return withStacks(options, async (stacks) => {
    const longest = Math.max(...promptTokens);
    const trial: Trial = {
      prompt: randomPrompt(longest, stacks[0]?.vocab ?? 0, 0),
      tokens: 1,
      rate: ({ prefillTokensPerS }) => prefillTokensPerS,
    };
    return withPeer(context, longest + 1, trial, async (peer) => {
      const rows = stacks[0]?.limits.maxRows ?? 0;
      const figures = [singleFigure("prompt tokens a step", "tokens", rows)];
      for (const length of promptTokens) figures.push(...(await prefillOf(length, stacks, peer, context)));
      return figures;
    });
  });
};

async function prefillOf(
  length: number,
  stacks: readonly StackUnderTest[],
  peer: Peer | null,
  context: BenchmarkContext,
): Promise<Figure[]> {
  const { signal, readBytesPerS } = context;
  const devices = contendingDevices(context);
  const vocab = stacks[0]?.vocab ?? 0;
  const contenders: Contender<PrefillTurn>[] = stacks.map((stack) => async (round) => {
    const prompt = randomPrompt(length, vocab, round);
    const { prefill } = await stack.generate({ prompt, tokens: 1, sampling: GREEDY, signal });
    return {
      tokensPerS: prefillTokensPerS(length, prefill),
      work: tokenWork(prefill, length),
      peerTokensPerS: null,
    };
  });
  if (peer !== null) {
    contenders.push(async (round) => {
      const { prefillTokensPerS, own } = await peer.generate(randomPrompt(length, vocab, round), 1);
      return { tokensPerS: prefillTokensPerS, work: null, peerTokensPerS: own.prefillTokensPerS };
    });
  }
  const what = `prefill of ${length}`;
  const results = await takeTurns(what, contenders, context);
  const rates = results.map((turns) => turns.map(({ tokensPerS }) => tokensPerS));
  const names = [...devices.map((device) => `--gpu ${device}`), ...(peer === null ? [] : ["llama.cpp"])];
  const figures = names.flatMap((where, index) => {
    const speed = distribution(rates[index] ?? []);
    const work = results[index]?.[0]?.work ?? null;
    return [
      medianFigure(`${what}, ${where}`, "tokens/s", speed),
      ...(work === null
        ? []
        : workFigures(
            `${what}, ${where}`,
            work,
            speed.median,
            devices[index] === "cuda" ? null : readBytesPerS,
          )),
    ];
  });
  const [ours = [], theirs = []] = rates;
  if (peer === null) return figures;
  const byOwnClock = (results[1] ?? []).map(({ peerTokensPerS }) => peerTokensPerS);
  return [...figures, ratioFigure(what, ours, theirs), ...ownClockFigures(what, ours, byOwnClock)];
}

export function prefillTokensPerS(tokens: number, steps: Generation["prefill"]): number {
  const startNs = Math.min(...steps.map((step) => step.startNs));
  const endNs = Math.max(...steps.map((step) => step.endNs));
  return (1e9 * tokens) / (endNs - startNs);
}

/** The same for the same seed, so that contenders read the same. */
export function randomPrompt(length: number, vocab: number, seed: number): number[] {
  const random = Xoshiro256.seeded(BigInt(seed));
  return Array.from({ length }, () => Math.floor(random.nextDouble() * vocab));
}
