/** Spends what memory a choice leaves, by marginal gain, and makes choices smaller until they fit. */
import { type CostTable, OWNERS } from "./cost-table.js";
import {
  type Choice,
  choiceBytes,
  fits,
  type LayerChoice,
  type Owner,
  type PlacementProblem,
} from "./problem.js";

/** More jumps never came in practice; each is a strict gain, so the end is certain anyway. */
const MOST_JUMPS = 1000;

/**
 * @param choice must fit
 * @returns one at least as good that fits as well
 */
export function fill(problem: PlacementProblem, table: CostTable, choice: Choice): Choice {
  let filled = copyOf(choice);
  for (let i = 0; i < MOST_JUMPS; i++) {
    addGroups(problem, table, filled);
    const better = bestJump(problem, table, filled);
    if (better === null) break;
    filled = better;
  }
  return filled;
}

/** One group after the other, each time the one that saves most per byte. */
function addGroups(problem: PlacementProblem, table: CostTable, choice: Choice): void {
  let left = problem.budgetBytes - choiceBytes(problem, choice);
  const gains = choice.layers.map((layer, index) => gainOfGroup(table, index, layer));
  for (;;) {
    let best = -1;
    for (const [index, gain] of gains.entries()) {
      if (gain === null || gain.bytes > left) continue;
      if (best < 0 || gain.perByte > (gains[best]?.perByte ?? 0)) best = index;
    }
    const layer = choice.layers[best];
    if (layer === undefined) return;
    left -= gains[best]?.bytes ?? 0;
    layer.hot++;
    gains[best] = gainOfGroup(table, best, layer);
  }
}

/** What one more group on the GPU executor saves; null when it saves nothing. */
function gainOfGroup(table: CostTable, index: number, { owner, hot }: LayerChoice) {
  const costs = table[index]?.[owner];
  const saved = (costs?.s[hot] ?? 0) - (costs?.s[hot + 1] ?? Number.POSITIVE_INFINITY);
  if (!(saved > 0)) return null;
  const bytes = (costs?.bytes[hot + 1] ?? 0) - (costs?.bytes[hot] ?? 0);
  return { bytes, perByte: saved / Math.max(bytes, 1) };
}

/** The change of one layer's owner and groups, or of the head, that saves most and fits; null when none saves. */
function bestJump(problem: PlacementProblem, table: CostTable, choice: Choice): Choice | null {
  const left = problem.budgetBytes - choiceBytes(problem, choice);
  const { residualS, head } = problem;
  let best: Choice | null = null;
  // Less than that is rounding.
  let bestSaved = 1e-15;
  for (const [index, layer] of choice.layers.entries()) {
    const before = choice.layers[index - 1]?.owner ?? null;
    const after = choice.layers[index + 1]?.owner ?? choice.head;
    const waysS = (owner: Owner) =>
      ((before ?? owner) === owner ? 0 : residualS) + (after === owner ? 0 : residualS);
    const now = table[index]?.[layer.owner];
    const nowS = (now?.s[layer.hot] ?? 0) + waysS(layer.owner);
    const room = left + (now?.bytes[layer.hot] ?? 0);
    for (const owner of OWNERS) {
      const costs = table[index]?.[owner];
      const waysAfterS = waysS(owner);
      let found = -1;
      for (const [hot, s] of costs?.s.entries() ?? []) {
        if ((costs?.bytes[hot] ?? 0) > room) break;
        const saved = nowS - s - waysAfterS;
        if (saved > bestSaved) [found, bestSaved] = [hot, saved];
      }
      if (found >= 0) best = { layers: choice.layers.with(index, { owner, hot: found }), head: choice.head };
    }
  }
  const last = choice.layers.at(-1)?.owner ?? choice.head;
  const headS = (owner: Owner) =>
    (owner === "gpu" ? head.gpuS : head.cpuS) + (owner === last ? 0 : residualS);
  const moved = { layers: choice.layers, head: choice.head === "gpu" ? "cpu" : "gpu" } as const;
  if (headS(choice.head) - headS(moved.head) > bestSaved && fits(problem, moved)) best = moved;
  return best === null ? null : copyOf(best);
}

/** Takes groups away, least loss per byte first, then owners, until the choice fits. */
export function shrink(problem: PlacementProblem, table: CostTable, choice: Choice): Choice {
  const smaller = copyOf(choice);
  while (!fits(problem, smaller)) {
    let best = -1;
    let bestLoss = Number.POSITIVE_INFINITY;
    for (const [index, { owner, hot }] of smaller.layers.entries()) {
      if (hot === 0) continue;
      const costs = table[index]?.[owner];
      const bytes = (costs?.bytes[hot] ?? 0) - (costs?.bytes[hot - 1] ?? 0);
      const loss = ((costs?.s[hot - 1] ?? 0) - (costs?.s[hot] ?? 0)) / Math.max(bytes, 1);
      if (loss < bestLoss) [best, bestLoss] = [index, loss];
    }
    const layer = smaller.layers[best];
    const owned = smaller.layers.findLast(({ owner }) => owner === "gpu");
    if (layer !== undefined) layer.hot--;
    else if (smaller.head === "gpu") smaller.head = "cpu";
    else if (owned !== undefined) owned.owner = "cpu";
    else break;
  }
  return smaller;
}

function copyOf(choice: Choice): Choice {
  return { layers: choice.layers.map((layer) => ({ ...layer })), head: choice.head };
}
