/** The best placement, by HiGHS on a thread of its own: it is synchronous, and cannot be made to end at a given time. */
import { Worker } from "node:worker_threads";
import { costTable } from "./cost-table.js";
import { fill, shrink } from "./fill.js";
import { placeGreedily } from "./greedy.js";
import { toProgram } from "./milp.js";
import { type Choice, fits, groupsOf, type PlacementProblem, stepS } from "./problem.js";

/** What the thread is given. */
export interface SolveOrder {
  text: string;
  /** Values of the binary variables to begin with. */
  start: readonly [variable: string, value: number][];
  /** Simplex iterations after which it ends with the best it has; it looks now and then. */
  iterations: number;
  /** Share of the objective by which the answer may miss the best one. */
  gap: number;
}

export type SolveAnswer =
  /** `optimal`: proven to be, within the gap. Values are null when nothing feasible was found. */
  | { kind: "solved"; optimal: boolean; values: [string, number][] | null }
  | { kind: "failed"; message: string };

export interface SolveOptions {
  /** Work for the solver, in simplex iterations, so that it gets equally far on every machine; 0 leaves it out. */
  iterations: number;
  /** When it is ended whatever it has: an emergency, in which the greedy choice stands. */
  limitMs: number;
  /** Where the greedy choice misses the bound by no more than this share, the solver is left out. */
  enough: number;
  signal: AbortSignal | null;
  /** Runs a program; on a thread of its own unless given. Null when it did not end in time. */
  run?: (order: SolveOrder) => Promise<SolveAnswer | null>;
}

export interface Solution {
  choice: Choice;
  /** What found the choice: the solver, or the greedy method where it was no worse or the solver had no time. */
  method: "solver" | "greedy";
  /** What became of the solver. */
  outcome: "optimal" | "work-limit" | "out-of-time" | "left-out" | "failed";
  /** Why it failed; null unless it did. */
  failure: string | null;
  /** No placement within the budget takes less, in seconds. */
  leastS: number;
  /** What a byte more would be worth at the margin, in seconds. */
  priceSPerByte: number;
  solverMs: number;
}

/** Of large problems, whose curves' pieces are no closer than that. */
const GAP = 1e-4;
/** Of problems that the program states exactly: rounding. */
const EXACT_GAP = 1e-9;

/**
 * The same problem gives the same answer, or the greedy one if the solver runs out of time.
 *
 * @throws the signal's reason
 */
export async function solve(problem: PlacementProblem, options: SolveOptions): Promise<Solution> {
  const startMs = performance.now();
  const table = costTable(problem);
  const greedy = placeGreedily(problem, table);
  const greedyS = stepS(problem, greedy.choice);
  const solution = (outcome: Solution["outcome"], failure: string | null = null): Solution => ({
    ...greedy,
    method: "greedy",
    outcome,
    failure,
    solverMs: performance.now() - startMs,
  });
  const program = toProgram(problem, table);
  const gap = program.exact ? EXACT_GAP : GAP;
  // Nothing is left to gain where it reaches the bound.
  if (greedyS <= greedy.leastS * (1 + gap)) return solution("optimal");
  if (options.iterations <= 0 || greedyS <= greedy.leastS * (1 + options.enough)) return solution("left-out");
  const start = program.start(greedy.choice);
  const order = { text: program.text, start, iterations: options.iterations, gap };
  const answer = await (options.run ?? ((each) => onThread(each, options)))(order);
  if (answer === null) return solution("out-of-time");
  if (answer.kind === "failed") return solution("failed", answer.message);
  const outcome = answer.optimal ? "optimal" : "work-limit";
  if (answer.values === null) return solution(outcome);
  const read = program.read(new Map(answer.values));
  const choice = [read, leastSplit(problem, read)]
    // Fractions of groups were rounded away, and sums were floats.
    .map((each) => fill(problem, table, fits(problem, each) ? each : shrink(problem, table, each)))
    .reduce((a, b) => (stepS(problem, b) < stepS(problem, a) ? b : a));
  return stepS(problem, choice) < greedyS
    ? { ...solution(outcome), choice, method: "solver" }
    : solution(outcome);
}

/**
 * Split layers with one group, to be filled up again: pieces of curves end where curves do not bend, and what lies
 * between them is better shared out by marginal gain.
 */
function leastSplit({ layers }: PlacementProblem, choice: Choice): Choice {
  const isSplit = (hot: number, index: number) => {
    const layer = layers[index];
    return layer !== undefined && hot > 0 && hot < groupsOf(layer);
  };
  return {
    ...choice,
    layers: choice.layers.map((layer, index) => (isSplit(layer.hot, index) ? { ...layer, hot: 1 } : layer)),
  };
}

/** @returns null when the thread had to be ended */
async function onThread(order: SolveOrder, { limitMs, signal }: SolveOptions): Promise<SolveAnswer | null> {
  signal?.throwIfAborted();
  const worker = new Worker(new URL("./solve-worker.js", import.meta.url), { workerData: order });
  let timer: NodeJS.Timeout | null = null;
  let onAbort: (() => void) | null = null;
  try {
    return await new Promise<SolveAnswer | null>((resolve, reject) => {
      worker.on("message", resolve);
      worker.on("error", (error) => resolve({ kind: "failed", message: error.message }));
      worker.on("exit", (code) =>
        resolve({ kind: "failed", message: `its thread exited with code ${code}` }),
      );
      timer = setTimeout(() => resolve(null), limitMs);
      onAbort = () => reject(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  } finally {
    if (timer !== null) clearTimeout(timer);
    if (onAbort !== null) signal?.removeEventListener("abort", onAbort);
    await worker.terminate();
  }
}
