/**
 * What serving pays for counting which neurons fire, and for moving them: decoding with each, against decoding without.
 * Two stacks that do neither compete as well: how much they differ is what this measurement cannot see.
 */
import { setTimeout as delay } from "node:timers/promises";
import { createLog } from "../coordinator/log.js";
import type { Model } from "../coordinator/model/model.js";
import { WeightStream } from "../coordinator/model/synth/random.js";
import type { LayerFirings } from "../coordinator/placement/choose-exchanges.js";
import {
  type ExchangeRound,
  fixedBecause,
  RE_PLACEMENT_DEFAULTS,
  RePlacement,
} from "../coordinator/placement/re-placement.js";
import { ThermoclineError } from "../proto/errors.js";
import {
  type Benchmark,
  type BenchmarkContext,
  type Figure,
  medianFigure,
  singleFigure,
} from "./benchmark.js";
import {
  contendingCard,
  type Generation,
  GREEDY,
  type StackUnderTest,
  stackOptions,
  withStacks,
} from "./stack-under-test.js";
import { type Distribution, distribution } from "./statistics.js";
import { takeTurns } from "./turns.js";

/** More often than while serving, so that a turn has rounds enough to be measured. */
const ROUND_EVERY_MS = 1000;

export const live: Benchmark = async (context) => {
  const card = contendingCard(context);
  const plain = stackOptions(context, card);
  const counting = stackOptions(context, card, { counting: true });
  return withStacks([plain, plain, counting, counting], async ([without, again, counted, moved]) => {
    if (without === undefined || again === undefined || counted === undefined || moved === undefined)
      return [];
    const fixed = fixedBecause(moved.model);
    if (fixed !== null) {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `neurons of this model cannot move: ${fixed}; give another --model`,
      );
    }
    const rounds: ExchangeRound[] = [];
    const drawn = [0n, 1n].map((seed) => drawFirings(moved.model, seed));
    const turn = (stack: StackUnderTest) => () => generate(stack, context);
    const turns = await takeTurns(
      "live counting and re-placement",
      [
        turn(without),
        turn(again),
        turn(counted),
        () => whileMoving(moved, context, drawn, rounds, turn(moved)),
      ],
      context,
    );
    return figures(turns, rounds);
  });
};

function generate(stack: StackUnderTest, { tokens, signal }: BenchmarkContext): Promise<Generation> {
  return stack.generate({ prompt: stack.prompt, tokens, sampling: GREEDY, signal });
}

/** Neurons change places by counts that were drawn, and contradict each other: there is always something to move. */
async function whileMoving(
  { model, group }: StackUnderTest,
  { signal }: BenchmarkContext,
  drawn: readonly LayerFirings[],
  rounds: ExchangeRound[],
  turn: () => Promise<Generation>,
): Promise<Generation> {
  const mover = new RePlacement({
    ...RE_PLACEMENT_DEFAULTS,
    model,
    executors: group,
    firings: async () => drawn[rounds.length % drawn.length] ?? [],
    onRound: (round) => rounds.push(round),
    log: createLog("bench", "warn"),
  });
  const ended = new AbortController();
  const either = AbortSignal.any([ended.signal, signal]);
  const moving = (async () => {
    while (!either.aborted) {
      await delay(ROUND_EVERY_MS, null, { signal: either }).catch(() => undefined);
      if (!either.aborted) await mover.round();
    }
  })();
  const generation = await turn().finally(() => ended.abort());
  // A round that still waits for a step to apply it gets more of them.
  await Promise.all([moving, turn()]);
  return generation;
}

function drawFirings({ shape: { layers, ff } }: Model, seed: bigint): LayerFirings {
  const draws = new WeightStream(seed, "firings");
  return Array.from({ length: layers }, () => Uint32Array.from({ length: ff }, () => draws.below(1000)));
}

function figures(
  [without = [], again = [], counted = [], moved = []]: readonly Generation[][],
  rounds: readonly ExchangeRound[],
): Figure[] {
  const lost = (turns: readonly Generation[]): Distribution =>
    distribution(turns.map((turn, round) => 100 * (1 - rate(turn) / rate(without[round]))));
  const copying = distribution(rounds.map(({ applying }) => (applying.endNs - applying.startNs) / 1e6));
  const staging = distribution(rounds.map((round) => (round.staging.endNs - round.staging.startNs) / 1e6));
  return [
    medianFigure("decoding, neither", "tokens/s", distribution(without.map(rate))),
    medianFigure("lost to nothing: the same again", "%", lost(again)),
    medianFigure("lost to counting", "%", lost(counted)),
    medianFigure(`lost to counting, and moving every ${ROUND_EVERY_MS / 1000} s`, "%", lost(moved)),
    singleFigure("moved a round", "MiB", (rounds[0]?.bytes ?? 0) / 2 ** 20),
    medianFigure("staged beside steps in", "ms", staging),
    medianFigure("applied between steps in, p50", "ms", copying),
    { name: "applied, p99", value: copying.p99, unit: "ms", quartiles: null, count: copying.count },
  ];
}

function rate(turn: Generation | undefined): number {
  return turn?.summary.decodeTokensPerS ?? Number.NaN;
}
