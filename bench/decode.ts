/** Decoding one request: tokens a second, how close that comes to what memory allows, and where the time goes. */
import { type Benchmark, type BenchmarkContext, type Figure, medianFigure } from "./benchmark.js";
import type { Peer } from "./peer.js";
import type { Trial } from "./peer-on-card.js";
import { phaseFigures, type TokenTimes, tokenTimes } from "./phase-times.js";
import {
  contendingDevices,
  type Device,
  GREEDY,
  type StackUnderTest,
  stackOptions,
  withStacks,
} from "./stack-under-test.js";
import { distribution } from "./statistics.js";
import { type Contender, takeTurns } from "./turns.js";
import { ownClockFigures, ratioFigure, withPeer } from "./versus.js";
import { readFigures, type TokenWork, tokenWork, workFigures } from "./work.js";

/** Enough to tell which number of the peer's layers on a card is the fastest. */
const TRIAL_TOKENS = 16;

/** One request's figures. */
interface DecodeTurn {
  tokensPerS: number;
  /** Null for the peer, which keeps no records. */
  own: { work: TokenWork; times: TokenTimes[] } | null;
  /** The peer's own clock; null for us, or where it tells nothing. */
  peerTokensPerS: number | null;
}

export const decode: Benchmark = async (context) => {
  const { tokens } = context;
  const devices = contendingDevices(context);
  const options = devices.map((device) => stackOptions(context, device));
  return withStacks(options, async (stacks) => {
    const prompt = stacks[0]?.prompt ?? [];
    const trial: Trial = {
      prompt,
      tokens: Math.min(tokens, TRIAL_TOKENS),
      rate: ({ decodeTokensPerS }) => decodeTokensPerS,
    };
    return withPeer(context, prompt.length + tokens, trial, async (peer) => {
      const contenders: Contender<DecodeTurn>[] = stacks.map((stack) => () => ourTurn(stack, context));
      if (peer !== null) contenders.push(() => peerTurn(peer, prompt, tokens));
      const results = await takeTurns("decode", contenders, context);
      const ours = devices.flatMap((device, index) => ownFigures(device, results[index] ?? [], context));
      return peer === null ? ours : [...ours, ...peerFigures(results, peer, context)];
    });
  });
};

async function ourTurn(stack: StackUnderTest, { tokens, signal }: BenchmarkContext): Promise<DecodeTurn> {
  const { prompt } = stack;
  const { summary, prefill, steps } = await stack.generate({ prompt, tokens, sampling: GREEDY, signal });
  return {
    tokensPerS: summary.decodeTokensPerS,
    own: { work: tokenWork(steps, steps.length), times: tokenTimes([...prefill.slice(-1), ...steps]) },
    peerTokensPerS: null,
  };
}

async function peerTurn(peer: Peer, prompt: readonly number[], tokens: number): Promise<DecodeTurn> {
  const { decodeTokensPerS, own } = await peer.generate(prompt, tokens);
  return { tokensPerS: decodeTokensPerS, own: null, peerTokensPerS: own.decodeTokensPerS };
}

function ownFigures(device: Device, turns: readonly DecodeTurn[], context: BenchmarkContext): Figure[] {
  const where = `--gpu ${device}`;
  const readBytesPerS = device === "cuda" ? null : context.readBytesPerS;
  const speed = distribution(turns.map(({ tokensPerS }) => tokensPerS));
  const records = turns.flatMap(({ own }) => (own === null ? [] : [own]));
  // Greedy turns all touch the same weights.
  const work = records[0]?.work;
  return [
    medianFigure(`decoding, ${where}`, "tokens/s", speed),
    ...(work === undefined ? [] : workFigures(where, work, speed.median, readBytesPerS)),
    ...phaseFigures(
      where,
      records.flatMap(({ times }) => times),
    ),
  ];
}

function peerFigures(
  results: readonly DecodeTurn[][],
  { gpu }: Peer,
  { peer, readBytesPerS }: BenchmarkContext,
): Figure[] {
  const [ours = [], theirs = []] = results.map((turns) => turns.map(({ tokensPerS }) => tokensPerS));
  const speed = distribution(theirs);
  return [
    medianFigure("decoding, llama.cpp", "tokens/s", speed),
    ...readFigures(
      "llama.cpp",
      peer?.bytesPerToken ?? Number.NaN,
      speed.median,
      gpu === null ? readBytesPerS : null,
    ),
    ratioFigure("decoding", ours, theirs),
    ...ownClockFigures(
      "decoding",
      ours,
      (results[1] ?? []).map(({ peerTokensPerS }) => peerTokensPerS),
    ),
  ];
}
