/** The best placement, by HiGHS on a thread of its own: it is synchronous and runs past its own time limit. */
import { Worker } from "node:worker_threads";
import { costTable } from "./cost-table.js";
import { fill, shrink } from "./fill.js";
import { placeGreedily } from "./greedy.js";
import { toProgram } from "./milp.js";
import { type Choice, fits, type PlacementProblem, stepS } from "./problem.js";

/** What the thread is given. */
export interface SolveOrder {
  text: string;
  /** Values of the binary variables to begin with. */
  start: readonly [variable: string, value: number][];
  limitS: number;
  /** Share of the objective by which the answer may miss the best one. */
  gap: number;
}

export type SolveAnswer =
  /** `optimal`: proven to be, within the gap. Values are null when nothing feasible was found. */
  | { kind: "solved"; optimal: boolean; values: [string, number][] | null }
  | { kind: "failed"; message: string };

export interface SolveOptions {
  /** Longest time for the solver; 0 leaves it out. */
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
  outcome: "optimal" | "out-of-time" | "left-out" | "failed";
  /** Why it failed; null unless it did. */
  failure: string | null;
  /** No placement within the budget takes less, in seconds. */
  leastS: number;
  /** What a byte more would be worth at the margin, in seconds. */
  priceSPerByte: number;
  solverMs: number;
}

/** Beyond its limit the thread gets this long to notice before it is ended. */
const GRACE_MS = 250;
/** Of large problems, whose curves' pieces are no closer than that. */
const GAP = 1e-4;
/** Of problems that the program states exactly: rounding. */
const EXACT_GAP = 1e-9;

/**
 * The same problem gives the same answer, unless the solver runs out of time.
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
  if (options.limitMs <= 0 || greedyS <= greedy.leastS * (1 + options.enough)) return solution("left-out");
  const start = program.start(greedy.choice);
  const order = { text: program.text, start, limitS: options.limitMs / 1000, gap };
  const answer = await (options.run ?? ((each) => onThread(each, options)))(order);
  if (answer === null) return solution("out-of-time");
  if (answer.kind === "failed") return solution("failed", answer.message);
  const outcome = answer.optimal ? "optimal" : "out-of-time";
  if (answer.values === null) return solution(outcome);
  // Fractions of groups were rounded away, pieces of curves stand for them, and sums were floats.
  const read = program.read(new Map(answer.values));
  const choice = fill(problem, table, fits(problem, read) ? read : shrink(problem, table, read));
  return stepS(problem, choice) < greedyS
    ? { ...solution(outcome), choice, method: "solver" }
    : solution(outcome);
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
      timer = setTimeout(() => resolve(null), limitMs + GRACE_MS);
      onAbort = () => reject(signal?.reason);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  } finally {
    if (timer !== null) clearTimeout(timer);
    if (onAbort !== null) signal?.removeEventListener("abort", onAbort);
    await worker.terminate();
  }
}
