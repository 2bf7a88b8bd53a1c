/** How much of its quiet decoding speed is left beside a process that keeps one core busy. */
import { fileURLToPath } from "node:url";
import { type Benchmark, type BenchmarkContext, type Figure, medianFigure } from "./benchmark.js";
import { Companion } from "./companion.js";
import { GREEDY, stackOptions, withStacks } from "./stack-under-test.js";
import { distribution } from "./statistics.js";
import { type Contender, takeTurns } from "./turns.js";
import { ratioFigure, ratios, withPeer } from "./versus.js";

const NEIGHBOUR_ENTRY = fileURLToPath(new URL("./busy-neighbour.js", import.meta.url));

export const neighbour: Benchmark = async (context) => {
  const { tokens, signal } = context;
  return withStacks([stackOptions(context, "off")], async ([stack]) => {
    if (stack === undefined) return [];
    const { prompt } = stack;
    return withPeer(context, prompt.length + tokens, null, async (peer) => {
      const ours = async () =>
        (await stack.generate({ prompt, tokens, sampling: GREEDY, signal })).summary.decodeTokensPerS;
      const theirs = async () => (await peer?.generate(prompt, tokens))?.decodeTokensPerS ?? Number.NaN;
      const names = peer === null ? ["--gpu off"] : ["--gpu off", "llama.cpp"];
      const contenders = (peer === null ? [ours] : [ours, theirs]).flatMap((turn) => [
        turn,
        besideNeighbour(turn, context),
      ]);
      return figures(names, await takeTurns("neighbour", contenders, context));
    });
  });
};

/** The same turn while a neighbour spins. */
function besideNeighbour(turn: Contender<number>, { signal }: BenchmarkContext): Contender<number> {
  return async (round) => {
    const companion = new Companion({ entry: NEIGHBOUR_ENTRY, label: "the busy neighbour", signal });
    try {
      await companion.next();
      return await turn(round);
    } finally {
      await companion.close();
    }
  };
}

/** @param rates of each name in turn: quiet, and beside the neighbour */
function figures(names: readonly string[], rates: readonly number[][]): Figure[] {
  const both = names.map((name, index) => ({
    name,
    quiet: rates[2 * index] ?? [],
    beside: rates[2 * index + 1] ?? [],
  }));
  const each = both.flatMap(({ name, quiet, beside }) => [
    medianFigure(`decoding, quiet, ${name}`, "tokens/s", distribution(quiet)),
    medianFigure(`decoding beside a busy neighbour, ${name}`, "tokens/s", distribution(beside)),
    medianFigure(
      `share kept beside a busy neighbour, ${name}`,
      "%",
      distribution(ratios(beside, quiet).map((kept) => 100 * kept)),
    ),
  ]);
  const [ours, theirs] = both;
  if (ours === undefined || theirs === undefined) return each;
  return [
    ...each,
    ratioFigure("decoding, quiet", ours.quiet, theirs.quiet),
    ratioFigure("decoding beside a busy neighbour", ours.beside, theirs.beside),
  ];
}
