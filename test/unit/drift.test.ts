/** What exchanges, which leave every layer its number of hot neurons, are behind a plan made anew. */
import { describe, expect, test } from "vitest";
import { costTable } from "../../coordinator/placement/cost-table.js";
import { placeGreedily } from "../../coordinator/placement/greedy.js";
import { type Choice, type PlacementProblem, stepS } from "../../coordinator/placement/problem.js";
import { modelProblem, SHAPE_NAMES } from "../support/placement-problems.js";
import { Random } from "../support/random.js";

const GIB = 1024 ** 3;
const DRAWS = 2;

const planned = (problem: PlacementProblem): Choice => placeGreedily(problem, costTable(problem)).choice;

/** By how much more the old plan's division takes, in percent: groups are sorted by the new heat in either. */
function behind(old: PlacementProblem, now: PlacementProblem): number {
  return 100 * (stepS(now, planned(old)) / stepS(now, planned(now)) - 1);
}

function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random.uniform())) * Math.cos(2 * Math.PI * random.uniform());
}

describe.each(SHAPE_NAMES)("%s", (name) => {
  test.each([
    [0.1, 0.3],
    [0.25, 1.3],
    [0.5, 4.5],
  ])("with every layer's activity off by a factor of e^%d or so", (sigma, atMost) => {
    const random = new Random(7);
    for (const budget of [2, 8, 24]) {
      for (const skew of [0.5, 1]) {
        for (let draw = 0; draw < DRAWS; draw++) {
          const factors = Array.from({ length: 80 }, () => Math.exp(sigma * normal(random)));
          const now = modelProblem(name, budget * GIB, skew, (layer) => factors[layer] ?? 1);
          const share = behind(modelProblem(name, budget * GIB, skew), now);
          expect(share).toBeGreaterThan(-1);
          expect(share).toBeLessThan(atMost);
        }
      }
    }
  });
});
