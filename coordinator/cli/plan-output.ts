/** What `thermocline plan` prints. */
import { formatBytes } from "../../proto/units.js";
import { totalBytes } from "../placement/footprint.js";
import { groupsOf, type LayerPrediction, layerBytes, layerS, type Owner } from "../placement/problem.js";
import type { PlanReport } from "../plan.js";

const COLUMNS = [
  "layers",
  "attention",
  "hot neurons",
  "active hot",
  "owner",
  "hot",
  "cold",
  "hand-over",
  "total",
  "GPU memory",
];

/** For people. */
export function reportText(report: PlanReport): string {
  const { model, known, placed } = report;
  const { prediction, solution } = placed;
  const { totalS, hotShare, headS, stepS } = prediction;
  return [
    `${model.name} on ${known.machine.name} (${known.machine.source}: ${known.machine.note})`,
    `${(1 / totalS).toFixed(1)} tokens/s predicted, ${ms(totalS)} a step, at position ${report.position}`,
    `${percent(hotShare)} of the active neurons on the GPU executor`,
    activityText(report),
    ...(solution === null ? [] : [methodText(solution)]),
    "",
    "predicted µs of a decode step",
    ...layerTable(report),
    `head on the ${sideText(placed.choice.head)}: ${us(headS)} µs; outside layers and head: ${us(stepS)} µs`,
    "",
    ...ledger(report),
    "",
    ...moreMemory(report),
    "",
  ].join("\n");
}

function activityText({ profile, known, model }: PlanReport): string {
  if (model.shape.activation === "silu") return "every neuron is active: the activation is silu";
  if (profile !== null) return `activity from the profile ${profile.path}, over ${profile.tokens} tokens`;
  return known.uniformShare < 1
    ? `no profile: all neurons are taken to be active equally often, as measured for ${percent(known.uniformShare)} of tokens`
    : "no profile: all neurons are taken to be active for every token, which predicts too little";
}

function methodText({
  method,
  outcome,
  failure,
  leastS,
  solverMs,
}: NonNullable<PlanReport["placed"]["solution"]>): string {
  const state = {
    optimal: "proven best",
    "work-limit": "the solver reached its limit of work",
    "out-of-time": "the solver ran out of time, and the greedy choice stands",
    "left-out": "the solver was left out",
    failed: `the solver failed: ${failure}`,
  }[outcome];
  const found = solverMs === 0 ? "kept from an earlier plan" : `found in ${(solverMs / 1e3).toFixed(1)} s`;
  return `by the ${method === "solver" ? "solver" : "greedy method"}, ${found}; ${state}; no placement takes less than ${ms(leastS)}`;
}

/** Neighbours that are placed alike share a line. */
function layerTable({ placed }: PlanReport): string[] {
  const runs: { first: number; last: number; cells: string[] }[] = [];
  for (const [index, layer] of placed.prediction.layers.entries()) {
    const cells = layerCells(layer);
    const run = runs.at(-1);
    if (run !== undefined && run.cells.join() === cells.join()) run.last = index;
    else runs.push({ first: index, last: index, cells });
  }
  const rows = runs.map(({ first, last, cells }) => [
    first === last ? `${first}` : `${first}-${last}`,
    ...cells,
  ]);
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  return [COLUMNS, ...rows].map((row) =>
    row.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  "),
  );
}

function layerCells(layer: LayerPrediction): string[] {
  return [
    layer.owner,
    String(layer.hotNeurons),
    `${layer.activeHot.toFixed(0)} of ${layer.active.toFixed(0)}`,
    us(layer.ownerS),
    us(layer.hotS),
    us(layer.coldS),
    us(layer.handOverS + layer.residualS),
    us(layer.totalS),
    formatBytes(layer.gpuBytes),
  ];
}

/** The GPU executor's memory, to the byte. */
function ledger({ placed, executors, known }: PlanReport): string[] {
  const { needs } = placed;
  const budget = executors.find(({ kind }) => kind === "gpu")?.budgetBytes ?? 0;
  if (needs === null) return [];
  const line = (what: string, bytes: number) =>
    `  ${what.padEnd(10)} ${formatBytes(bytes).padStart(10)}  ${bytes} B`;
  const { memoryBytes, reserveBytes } = known.machine.gpu;
  return [
    "GPU memory",
    line("weights", needs.weightBytes),
    line("KV cache", needs.kvCacheBytes),
    line("scratch", needs.scratchBytes),
    line("free", budget - totalBytes(needs)),
    line("budget", budget),
    ...(reserveBytes > 0 ? [line("reserve", reserveBytes), line("card", memoryBytes)] : []),
  ];
}

function moreMemory({ placed, larger }: PlanReport): string[] {
  const now = placed.prediction.totalS;
  return [
    "what more GPU memory would bring (by the greedy method)",
    ...larger.map(({ budgetBytes, totalS }) => {
      const gain = 100 * (now / Math.min(totalS, now) - 1);
      return `  ${formatBytes(budgetBytes).padStart(10)}  ${(1 / Math.min(totalS, now)).toFixed(1)} tokens/s  (+${gain.toFixed(0)} %)`;
    }),
  ];
}

/** Why one layer is placed as it is: its best alternatives, at what memory is worth elsewhere. */
export function explanation({ placed, inputs }: PlanReport, index: number): string {
  const { problem, choice, solution } = placed;
  const layer = problem.layers[index];
  const chosen = choice.layers[index];
  if (layer === undefined || chosen === undefined) return "";
  const groups = groupsOf(layer);
  const price = solution?.priceSPerByte ?? 0;
  const options = (["gpu", "cpu"] as const).flatMap((owner: Owner) =>
    [0, bestSplit(owner), groups].map((hot) => ({ owner, hot })),
  );
  function bestSplit(owner: Owner): number {
    let best = Math.min(1, groups);
    const cost = (hot: number) =>
      layerS(problem, index, { owner, hot }) + price * layerBytes(problem, index, { owner, hot });
    for (let hot = 2; hot < groups; hot++) if (cost(hot) < cost(best)) best = hot;
    return best;
  }
  const seen = new Set<string>();
  const lines = [chosen, ...options].flatMap((option) => {
    const key = `${option.owner} ${option.hot}`;
    if (seen.has(key)) return [];
    seen.add(key);
    const s = layerS(problem, index, option);
    const bytes = layerBytes(problem, index, option);
    const mark = option === chosen ? "chosen" : "";
    return [
      `  ${mark.padEnd(6)}  attention on ${option.owner}, ${String(layer.neurons[option.hot] ?? 0).padStart(6)} neurons hot: ` +
        `${us(s).padStart(9)} µs, ${formatBytes(bytes).padStart(10)}, with memory at its price ${us(s + price * bytes)} µs`,
    ];
  });
  const mib = price * 1024 ** 2 * 1e6;
  return [
    `layer ${index}, neurons in groups of ${inputs.groupSize}`,
    `a MiB of GPU memory is worth ${mib.toFixed(2)} µs a step: that is what the last one saves, wherever it is`,
    ...lines,
    "",
  ].join("\n");
}

/** For programs. */
export function reportJson(report: PlanReport): string {
  const { model, known, placed, executors, larger, position, profile } = report;
  const { prediction, needs, solution, choice } = placed;
  const gpu = placed.schedule.executors.indexOf("gpu");
  const values = {
    model: model.path,
    machine: known.machine,
    profile: profile?.path ?? null,
    uniformShare: known.uniformShare,
    position,
    tokensPerS: 1 / prediction.totalS,
    stepUs: prediction.totalS * 1e6,
    hotShare: prediction.hotShare,
    method: solution?.method ?? null,
    outcome: solution?.outcome ?? null,
    leastUs: solution === null ? null : solution.leastS * 1e6,
    budgetBytes: executors[gpu]?.budgetBytes ?? 0,
    memory: needs,
    head: choice.head,
    headUs: prediction.headS * 1e6,
    layers: prediction.layers.map((layer, index) => ({
      layer: index,
      attentionExecutor: placed.schedule.layers[index]?.attention ?? 0,
      neurons: executors.map(
        (_, executor) =>
          placed.schedule.layers[index]?.neuronOwner.filter((owner) => owner === executor).length ?? 0,
      ),
      active: layer.active,
      activeHot: layer.activeHot,
      ownerUs: layer.ownerS * 1e6,
      hotUs: layer.hotS * 1e6,
      coldUs: layer.coldS * 1e6,
      handOverUs: (layer.handOverS + layer.residualS) * 1e6,
      totalUs: layer.totalS * 1e6,
      gpuBytes: layer.gpuBytes,
    })),
    larger: larger.map(({ budgetBytes, totalS }) => ({ budgetBytes, tokensPerS: 1 / totalS })),
  };
  return `${JSON.stringify(values, null, 2)}\n`;
}

function sideText(owner: Owner): string {
  return owner === "gpu" ? "GPU executor" : "CPU executor";
}

function us(seconds: number): string {
  return (seconds * 1e6).toFixed(1);
}

function ms(seconds: number): string {
  return `${(seconds * 1e3).toFixed(3)} ms`;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(1)} %`;
}
