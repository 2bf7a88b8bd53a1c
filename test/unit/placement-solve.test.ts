/** The solver and the greedy method against brute force, each other, and what engines do without a placement. */
import { describe, expect, test } from "vitest";
import { costTable } from "../../coordinator/placement/cost-table.js";
import { fill, shrink } from "../../coordinator/placement/fill.js";
import { placeGreedily } from "../../coordinator/placement/greedy.js";
import { runHighs } from "../../coordinator/placement/highs.js";
import {
  type Choice,
  choiceBytes,
  fits,
  type PlacementProblem,
  predict,
  stepS,
} from "../../coordinator/placement/problem.js";
import { type SolveAnswer, solve } from "../../coordinator/placement/solve.js";
import {
  allChoices,
  modelProblem,
  randomProblem,
  realisticProblem,
  SHAPE_NAMES,
  topmostLayersFirst,
} from "../support/placement-problems.js";

const GIB = 1024 ** 3;
/** In this process: loading the solver anew for each instance would take longer than solving. */
const HERE = { iterations: 1e6, limitMs: 60_000, enough: 0, signal: null, run: runHighs };

function bruteForce(problem: PlacementProblem): number {
  let least = Number.POSITIVE_INFINITY;
  for (const choice of allChoices(problem)) {
    if (fits(problem, choice)) least = Math.min(least, stepS(problem, choice));
  }
  return least;
}

test("on small instances the solver finds what trying every placement finds, and the bound holds", async () => {
  let byGreedyAlone = 0;
  for (let seed = 0; seed < 150; seed++) {
    const problem = randomProblem(seed);
    const least = bruteForce(problem);
    const { choice, leastS, outcome } = await solve(problem, HERE);
    expect({ seed, outcome }).toEqual({ seed, outcome: "optimal" });
    expect(fits(problem, choice)).toBe(true);
    expect(stepS(problem, choice) / least, `seed ${seed}`).toBeCloseTo(1, 9);
    expect(leastS).toBeLessThanOrEqual(least * (1 + 1e-12));
    if (stepS(problem, placeGreedily(problem).choice) <= least * (1 + 1e-12)) byGreedyAlone++;
  }
  // Else the solver would have had nothing to do.
  expect(byGreedyAlone).toBeLessThan(150);
});

describe.each(SHAPE_NAMES)("on %s", (name) => {
  test.each([
    [2, 0],
    [8, 0.8],
    [20, 0.8],
  ])(
    "with %d GiB and skew %d, greedy is within 1 %% of the bound and beats topmost layers first",
    (gib, skew) => {
      const problem = modelProblem(name, gib * GIB, skew);
      const { choice, leastS } = placeGreedily(problem);
      expect(fits(problem, choice)).toBe(true);
      expect(stepS(problem, choice)).toBeLessThanOrEqual(leastS * 1.01);
      const topmost = topmostLayersFirst(problem);
      expect(fits(problem, topmost)).toBe(true);
      expect(stepS(problem, choice)).toBeLessThanOrEqual(stepS(problem, topmost));
      // The same again gives the same again.
      expect(placeGreedily(problem).choice).toEqual(choice);
    },
  );
});

test("on a realistic instance the solver is no worse than greedy, and the same again", async () => {
  const whole = modelProblem("llama-7b", GIB, 0.8);
  const problem = { ...whole, layers: whole.layers.slice(0, 12) };
  const greedy = placeGreedily(problem);
  const first = await solve(problem, HERE);
  expect(first.outcome).toBe("optimal");
  expect(fits(problem, first.choice)).toBe(true);
  expect(stepS(problem, first.choice)).toBeLessThanOrEqual(stepS(problem, greedy.choice));
  expect(stepS(problem, first.choice)).toBeGreaterThanOrEqual(greedy.leastS * (1 - 1e-12));
  const second = await solve(problem, HERE);
  expect(second.choice).toEqual(first.choice);
});

test("with little work to do, the solver is never worse than greedy, and neither than topmost layers first", async () => {
  const INSTANCES = 120;
  let bySolver = 0;
  for (let seed = 0; seed < INSTANCES; seed++) {
    const problem = realisticProblem(seed, 16);
    const greedy = placeGreedily(problem);
    const topmost = topmostLayersFirst(problem);
    expect(fits(problem, topmost)).toBe(true);
    const greedyS = stepS(problem, greedy.choice);
    expect(greedyS, `seed ${seed}`).toBeLessThanOrEqual(stepS(problem, topmost));
    const { choice, method } = await solve(problem, { ...HERE, iterations: 200 });
    expect(fits(problem, choice)).toBe(true);
    expect(stepS(problem, choice), `seed ${seed}`).toBeLessThanOrEqual(greedyS);
    expect(stepS(problem, choice)).toBeGreaterThanOrEqual(greedy.leastS * (1 - 1e-12));
    if (method === "solver") bySolver++;
  }
  // Else it would never have been asked.
  expect(bySolver).toBeGreaterThan(INSTANCES / 20);
});

test("the solver ends after its work, and the same work gives the same again", async () => {
  const problem = realisticProblem(4, 16);
  const first = await solve(problem, { ...HERE, iterations: 200 });
  expect(first.outcome).toBe("work-limit");
  expect((await solve(problem, { ...HERE, iterations: 200 })).choice).toEqual(first.choice);
  expect(await solve(problem, HERE)).toMatchObject({ outcome: "optimal" });
});

test("over thousands of random instances the budget is never exceeded, not by a byte", () => {
  for (let seed = 0; seed < 4000; seed++) {
    const problem = randomProblem(seed, 12, 12);
    const { choice, leastS } = placeGreedily(problem);
    expect(choiceBytes(problem, choice), `seed ${seed}`).toBeLessThanOrEqual(problem.budgetBytes);
    expect(stepS(problem, choice)).toBeGreaterThanOrEqual(leastS);
    const table = costTable(problem);
    const full: Choice = {
      layers: problem.layers.map(({ neurons }) => ({ owner: "gpu", hot: neurons.length - 1 })),
      head: "gpu",
    };
    const filled = fill(problem, table, shrink(problem, table, full));
    expect(choiceBytes(problem, filled), `seed ${seed}`).toBeLessThanOrEqual(problem.budgetBytes);
  }
});

test("a prediction's parts add up to the step, and to the budget's bytes", () => {
  for (let seed = 0; seed < 200; seed++) {
    const problem = randomProblem(seed, 6, 6);
    const { choice } = placeGreedily(problem);
    const { layers, headS, stepS: outsideS, totalS, gpuBytes } = predict(problem, choice);
    const sum = layers.reduce((total, layer) => total + layer.totalS, headS + outsideS);
    expect(sum / totalS).toBeCloseTo(1, 12);
    expect(gpuBytes).toBe(choiceBytes(problem, choice));
    for (const { hotS, coldS, ownerS, handOverS, residualS, totalS: layerS } of layers) {
      const both = Math.max(hotS, coldS) + problem.contention * Math.min(hotS, coldS);
      expect((ownerS + both + handOverS + residualS) / layerS).toBeCloseTo(1, 12);
    }
  }
});

describe("where the solver has no time, or fails, the greedy choice stands", () => {
  const problem = modelProblem("llama-7b", 2 * GIB, 0.8);
  const greedy = placeGreedily(problem).choice;

  test.each<[string, SolveAnswer | null, string]>([
    ["it did not end", null, "out-of-time"],
    ["it found nothing", { kind: "solved", optimal: false, values: null }, "work-limit"],
    ["it failed", { kind: "failed", message: "no memory" }, "failed"],
  ])("%s", async (_, answer, outcome) => {
    const solution = await solve(problem, { ...HERE, run: async () => answer });
    expect(solution).toMatchObject({ method: "greedy", outcome, choice: greedy });
  });

  test("it was left out", async () => {
    expect(await solve(problem, { iterations: 0, limitMs: 0, enough: 0, signal: null })).toMatchObject({
      outcome: "left-out",
      choice: greedy,
    });
  });
});
