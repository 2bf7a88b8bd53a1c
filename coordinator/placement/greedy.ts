/**
 * Placement without the solver: a price for memory, then what fits by marginal gain.
 *
 * At a price per byte every layer has a best choice of its own, but for the residual's way between owners, which a walk
 * along the layers takes into account. At the least price at which everything fits, alike layers change their minds
 * together: what was best just below that price holds for the first of them, as many as fit, and what is best at it for
 * the others. What memory is left goes to whatever gains most. No placement gets below the bound that each price gives.
 */
import { type CostTable, costTable, OWNERS, type OwnerTable } from "./cost-table.js";
import { fill } from "./fill.js";
import {
  allCold,
  type Choice,
  choiceBytes,
  fits,
  groupsOf,
  type LayerChoice,
  type PlacementProblem,
  stepS,
} from "./problem.js";

/** Halvings of the price: beyond what a double resolves. */
const HALVINGS = 60;

export interface Bounded {
  choice: Choice;
  /** No placement within the budget takes less, in seconds. */
  leastS: number;
  /** What a byte more would be worth at the margin, in seconds. */
  priceSPerByte: number;
}

/** @returns a choice that fits */
export function placeGreedily(problem: PlacementProblem, table: CostTable = costTable(problem)): Bounded {
  const limit = Math.min(problem.budgetBytes, bytesOfAll(problem));
  let leastS = Number.NEGATIVE_INFINITY;
  /** At a price: the choice, and whether it fits. */
  const consider = (price: number): { choice: Choice; fitting: boolean } => {
    const choice = bestAtPrice(problem, table, price);
    const bytes = choiceBytes(problem, choice);
    leastS = Math.max(leastS, stepS(problem, choice) + price * (bytes - limit));
    return { choice, fitting: bytes <= problem.budgetBytes };
  };
  const free = consider(0);
  if (free.fitting) return { choice: free.choice, leastS: stepS(problem, free.choice), priceSPerByte: 0 };
  // Where memory is dear nothing is placed; a byte never saves more than the whole step.
  let dear = allCold(problem);
  let cheap = free.choice;
  let [low, high] = [0, stepS(problem, dear)];
  for (let i = 0; i < HALVINGS && high > low * (1 + 1e-9); i++) {
    // Prices span orders of magnitude.
    const price = low === 0 ? high / 1024 : Math.sqrt(low * high);
    const { choice, fitting } = consider(price);
    if (fitting) [high, dear] = [price, choice];
    else [low, cheap] = [price, choice];
  }
  const better = (a: Choice, b: Choice) => (stepS(problem, b) < stepS(problem, a) ? b : a);
  const mixed = mixtures(problem, cheap, dear).map((each) => fill(problem, table, each));
  const best = mixed.reduce(better);
  const whole = wholeLayers(problem);
  const choice = better(best, whole) === best ? best : fill(problem, table, whole);
  return { choice, leastS: Math.min(leastS, stepS(problem, choice)), priceSPerByte: high };
}

/** The dear choice, and what fits of the cheap one from the first layer on and up to the last. */
function mixtures(problem: PlacementProblem, cheap: Choice, dear: Choice): Choice[] {
  const { length } = dear.layers;
  const fromFirst = (count: number): Choice => ({
    layers: dear.layers.map((layer, index) => (index < count ? (cheap.layers[index] ?? layer) : layer)),
    head: dear.head,
  });
  const toLast = (count: number): Choice => ({
    layers: dear.layers.map((layer, index) =>
      index >= length - count ? (cheap.layers[index] ?? layer) : layer,
    ),
    head: cheap.head,
  });
  return [fromFirst, toLast].flatMap((mixture) => {
    for (let count = length; count >= 0; count--) {
      const choice = mixture(count);
      if (fits(problem, choice)) return [choice];
    }
    return [];
  });
}

/**
 * The head and whole layers from the last one back, as many as fit: what engines without a placement do. Where a few
 * layers take most of the memory, prices can miss it.
 */
function wholeLayers(problem: PlacementProblem): Choice {
  let choice: Choice = { ...allCold(problem), head: "gpu" };
  if (!fits(problem, choice)) return allCold(problem);
  for (let index = problem.layers.length - 1; index >= 0; index--) {
    const layer = problem.layers[index];
    if (layer === undefined) break;
    const hot: LayerChoice = { owner: "gpu", hot: groupsOf(layer) };
    const next = { ...choice, layers: choice.layers.with(index, hot) };
    if (!fits(problem, next)) break;
    choice = next;
  }
  return choice;
}

function bytesOfAll(problem: PlacementProblem): number {
  const layers = problem.layers.map((layer) => ({ owner: "gpu" as const, hot: groupsOf(layer) }));
  return choiceBytes(problem, { layers, head: "gpu" });
}

/** A layer's best number of hot groups at a price, and the owner of the layer before it. */
interface Pick {
  hot: number;
  from: number;
}

/** The choice of least time when memory costs `price` seconds a byte. */
function bestAtPrice(problem: PlacementProblem, table: CostTable, price: number): Choice {
  // Least costs of the layers up to here, by the last one's owner.
  let reached = [0, 0];
  const picks: Pick[][] = [];
  for (const [index, costs] of table.entries()) {
    const next: number[] = [];
    const layerPicks: Pick[] = [];
    for (const [to, owner] of OWNERS.entries()) {
      const { hot, cost } = cheapest(costs[owner], price);
      const from = index === 0 ? to : cheapestFrom(reached, to, problem.residualS);
      const way = index === 0 || from === to ? 0 : problem.residualS;
      next.push((reached[from] ?? 0) + way + cost);
      layerPicks.push({ hot, from });
    }
    reached = next;
    picks.push(layerPicks);
  }
  const ends = OWNERS.map((owner, to) => {
    const from = cheapestFrom(reached, to, problem.residualS);
    const { gpuS, cpuS, gpuBytes } = problem.head;
    const headS = owner === "gpu" ? gpuS + price * gpuBytes : cpuS;
    return { owner, from, cost: (reached[from] ?? 0) + (from === to ? 0 : problem.residualS) + headS };
  });
  const end = ends.reduce((least, each) => (each.cost < least.cost ? each : least));
  const layers: LayerChoice[] = [];
  for (let index = picks.length - 1, last = end.from; index >= 0; index--) {
    const pick = picks[index]?.[last];
    const owner = OWNERS[last];
    if (pick === undefined || owner === undefined) throw new RangeError(`no pick for layer ${index}`);
    layers.unshift({ owner, hot: pick.hot });
    last = pick.from;
  }
  return { layers, head: end.owner };
}

function cheapestFrom(reached: readonly number[], to: number, residualS: number): number {
  const [stay = 0, come = 0] = [reached[to], (reached[1 - to] ?? 0) + residualS];
  return come < stay ? 1 - to : to;
}

/** Of equal ones, the one that takes least memory. */
function cheapest({ s, bytes }: OwnerTable, price: number): { hot: number; cost: number } {
  let hot = 0;
  let cost = Number.POSITIVE_INFINITY;
  for (let each = 0; each < s.length; each++) {
    const eachCost = (s[each] ?? 0) + price * (bytes[each] ?? 0);
    if (eachCost < cost) [hot, cost] = [each, eachCost];
  }
  return { hot, cost };
}
