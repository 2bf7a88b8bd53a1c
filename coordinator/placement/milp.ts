/**
 * The placement problem as a mixed-integer linear program, in the text format that HiGHS reads.
 *
 * A layer is in one of six modes: its owner is the GPU executor or a CPU executor, and its neurons are all cold, split,
 * or all hot. A binary variable a mode is all there is to branch on: in a split layer, time as a function of the number
 * of hot groups is convex up to its least value (the hottest groups save most, and beyond the least value more memory
 * would only cost time), so that linear pieces which fill in order by themselves describe it. They are as long as a
 * mode's binary allows, which makes the program's relaxation as tight as pieces can.
 */
import { type CostTable, OWNERS, type OwnerTable } from "./cost-table.js";
import type { Choice, LayerChoice, Owner, PlacementProblem } from "./problem.js";

/** Pieces of a split layer's curve at most. With 448 groups, 24 are within 0.1 % of it; fewer groups are exact. */
const MOST_PIECES = 24;

/** A linear piece of a split layer's curve, as the sums of its groups. */
interface Piece {
  variable: string;
  groups: number;
  us: number;
  bytes: number;
}

interface Mode {
  variable: string;
  layer: number;
  owner: Owner;
  /** Hot groups: with none of the pieces, and at most. */
  hot: number;
  most: number;
  us: number;
  bytes: number;
  pieces: Piece[];
}

export interface Program {
  text: string;
  /** Whether its best solution is the problem's, and not only near it. */
  exact: boolean;
  /** The values of the binary variables that stand for a choice. */
  start: (choice: Choice) => [variable: string, value: number][];
  /** Reads what HiGHS found, by variable. Groups may be too many by a rounding error. */
  read: (values: ReadonlyMap<string, number>) => Choice;
}

export function toProgram(problem: PlacementProblem, table: CostTable): Program {
  const modes = table.flatMap((costs, layer) =>
    OWNERS.flatMap((owner) => modesOf(costs[owner], layer, owner)),
  );
  const exact = modes.every(({ pieces }) => pieces.every(({ groups }) => groups === 1));
  // Near 1, whatever the model's size.
  const unit = Math.max(1, Math.min(problem.budgetBytes, 2 ** 50) / 1024);
  const objective: Term[] = [];
  const memory: Term[] = [];
  const rows: string[] = [];
  const binaries = modes.map(({ variable }) => variable);

  for (const { variable, us, bytes, pieces } of modes) {
    objective.push([us, variable]);
    memory.push([bytes / unit, variable]);
    for (const piece of pieces) {
      objective.push([piece.us / piece.groups, piece.variable]);
      memory.push([piece.bytes / piece.groups / unit, piece.variable]);
      rows.push(`${piece.variable} - ${number(piece.groups)} ${variable} <= 0`);
    }
  }
  for (const layer of problem.layers.keys()) {
    const own = modes.filter((mode) => mode.layer === layer);
    rows.push(`${own.map(({ variable }) => variable).join(" + ")} = 1`);
  }
  // Who owns the head, and where the residual moves.
  const { gpuS, cpuS, gpuBytes } = problem.head;
  binaries.push("hg", "hc");
  objective.push([1e6 * gpuS, "hg"], [1e6 * cpuS, "hc"]);
  memory.push([gpuBytes / unit, "hg"]);
  rows.push("hg + hc = 1");
  for (const layer of problem.layers.keys()) {
    const here = onGpu(modes, layer);
    const next = layer + 1 < problem.layers.length ? onGpu(modes, layer + 1) : ["hg"];
    objective.push([1e6 * problem.residualS, `m${layer}`]);
    rows.push(`m${layer} - ${here.join(" - ")} + ${next.join(" + ")} >= 0`);
    rows.push(`m${layer} + ${here.join(" + ")} - ${next.join(" - ")} >= 0`);
  }
  if (Number.isFinite(problem.budgetBytes)) {
    rows.push(`${sum(memory)} <= ${number(problem.budgetBytes / unit)}`);
  }
  const text = [
    `Minimize\n obj: ${sum(objective)}`,
    `Subject To\n${rows.map((row, index) => ` r${index}: ${row}`).join("\n")}`,
    // Longer pieces end where the budget does, wherever that is, and are rounded afterwards.
    ...(exact ? general(modes) : []),
    `Binary\n ${binaries.join("\n ")}`,
    "End\n",
  ].join("\n");
  return {
    text,
    exact,
    start: (choice) => startOf(modes, choice),
    read: (values) => read(problem, modes, values),
  };
}

function general(modes: readonly Mode[]): string[] {
  const pieces = modes.flatMap((mode) => mode.pieces.map(({ variable }) => variable));
  return pieces.length === 0 ? [] : [`General\n ${pieces.join("\n ")}`];
}

/** Those with other numbers of hot groups cannot be better. */
function modesOf(costs: OwnerTable, layer: number, owner: Owner): Mode[] {
  const last = costs.s.length - 1;
  const mode = (name: string, hot: number, most: number): Mode => ({
    variable: `${owner === "gpu" ? "g" : "c"}${layer}${name}`,
    layer,
    owner,
    hot,
    most,
    us: 1e6 * (costs.s[hot] ?? 0),
    bytes: costs.bytes[hot] ?? 0,
    pieces: [],
  });
  const modes = [mode("n", 0, 0)];
  if (last > 1) {
    const split = mode("s", 1, last - 1);
    modes.push({ ...split, pieces: piecesOf(costs, split.variable) });
  }
  if (last > 0) modes.push(mode("a", last, last));
  return modes;
}

/** The convex part of a split layer's curve: from one hot group to where its time is least. */
function piecesOf({ s, bytes }: OwnerTable, variable: string): Piece[] {
  const us = (hot: number) => 1e6 * (s[hot] ?? 0);
  let best = 1;
  for (let hot = 2; hot < s.length - 1; hot++) if (us(hot) < us(best)) best = hot;
  const points = lowerHull(breakpoints(1, best), us);
  return points.slice(1).map((to, index) => {
    const from = points[index] ?? 1;
    const groups = to - from;
    const pieceBytes = (bytes[to] ?? 0) - (bytes[from] ?? 0);
    return { variable: `${variable}p${index}`, groups, us: us(to) - us(from), bytes: pieceBytes };
  });
}

/** Numbers from `first` to `last`, at most a piece more than {@link MOST_PIECES}, closest where curves bend most. */
function breakpoints(first: number, last: number): number[] {
  const span = last - first;
  if (span <= MOST_PIECES) return Array.from({ length: span + 1 }, (_, index) => first + index);
  const points = Array.from({ length: MOST_PIECES + 1 }, (_, index) =>
    Math.round(first + span * (index / MOST_PIECES) ** 1.5),
  );
  return [...new Set(points)];
}

/** The points that the curve's convex hull goes through from below. */
function lowerHull(points: readonly number[], value: (point: number) => number): number[] {
  const hull: number[] = [];
  for (const point of points) {
    for (;;) {
      const [a, b] = [hull.at(-2), hull.at(-1)];
      if (a === undefined || b === undefined) break;
      const onChord = value(a) + ((value(point) - value(a)) * (b - a)) / (point - a);
      if (value(b) < onChord) break;
      hull.pop();
    }
    hull.push(point);
  }
  return hull;
}

function startOf(modes: readonly Mode[], choice: Choice): [string, number][] {
  const chosen = modes.map(({ variable, layer, owner, hot, most }): [string, number] => {
    const of = choice.layers[layer];
    const isIn = of !== undefined && of.owner === owner && of.hot >= hot && of.hot <= most;
    return [variable, isIn ? 1 : 0];
  });
  return [...chosen, ["hg", choice.head === "gpu" ? 1 : 0], ["hc", choice.head === "cpu" ? 1 : 0]];
}

function read(
  problem: PlacementProblem,
  modes: readonly Mode[],
  values: ReadonlyMap<string, number>,
): Choice {
  const amount = ({ variable }: { variable: string }) => values.get(variable) ?? 0;
  const layers = problem.layers.map((_, layer): LayerChoice => {
    const mode = modes
      .filter((candidate) => candidate.layer === layer)
      .reduce((a, b) => (amount(b) > amount(a) ? b : a));
    const groups = mode.pieces.reduce((total, piece) => total + amount(piece), mode.hot);
    return { owner: mode.owner, hot: Math.floor(groups + 1e-6) };
  });
  return { layers, head: amount({ variable: "hg" }) > 0.5 ? "gpu" : "cpu" };
}

function onGpu(modes: readonly Mode[], layer: number): string[] {
  return modes.filter((mode) => mode.layer === layer && mode.owner === "gpu").map(({ variable }) => variable);
}

type Term = [coefficient: number, variable: string];

/** A sum over several lines: the format limits their length. */
function sum(terms: readonly Term[]): string {
  const used = terms.filter(([coefficient]) => coefficient !== 0);
  if (used.length === 0) return `0 ${terms[0]?.[1] ?? "hg"}`;
  return used
    .map(
      ([coefficient, variable]) =>
        `${coefficient < 0 ? "-" : "+"} ${number(Math.abs(coefficient))} ${variable}`,
    )
    .join("\n  ");
}

/** With all digits that a double has to tell. */
function number(value: number): string {
  return value.toPrecision(15).replace(/\.?0+(e|$)/, "$1");
}
