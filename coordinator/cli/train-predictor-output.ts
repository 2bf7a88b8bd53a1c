/** What `thermocline train-predictor` shows while it runs, and at its end. */
import { formatBytes, formatSeconds } from "../../proto/units.js";
import type { Perplexity } from "../perplexity/estimate.js";
import type { Candidate } from "../predictors/rank-search.js";
import type { TotalReport } from "../predictors/total.js";
import type { TrainReport, TrainStage } from "../predictors/train.js";
import type { CandidateReport, LayerReport } from "../predictors/train-layer.js";

export function stageText(stage: TrainStage): string {
  switch (stage.kind) {
    case "tokenizing":
      return "tokenizing the texts";
    case "starting":
      return `collects activations of ${stage.windows} windows, ${formatBytes(stage.bytes)}, in ${stage.folder}`;
    case "resuming":
      return `goes on in ${stage.folder}, which has ${stage.windowsDone} of ${stage.windows} windows of activations`;
    case "collecting":
      return `collecting activations: ${stage.windowsDone} of ${stage.windows} windows`;
    case "training":
      return trainingText(stage);
    case "writing":
      return "writing the model";
    case "evaluating":
      return `perplexity ${stage.predictor ? "with" : "without"} predictors: ${(100 * stage.share).toFixed(0)} %`;
  }
}

/** One that is at work has a recall only once its margin has been set; until then there is the best one's. */
function trainingText({
  layer,
  place,
  layers,
  candidate,
  training,
  best,
}: Extract<TrainStage, { kind: "training" }>): string {
  const parts = [`layer ${layer} (${place} of ${layers}): ${nameOf(candidate)}`];
  if (training !== null) {
    const { epoch, epochs, done, loss } = training;
    parts.push(`epoch ${epoch} of ${epochs} (${(100 * done).toFixed(0)} %)`, `loss ${loss.toFixed(4)}`);
  }
  if (best !== null) {
    const { recall, precision } = best;
    parts.push(`best so far ${nameOf(best)}: recall ${percent(recall)}, precision ${percent(precision)}`);
  }
  return parts.join(", ");
}

function nameOf({ kind, rank }: Candidate): string {
  return `${kind}, rank ${rank}`;
}

const COLUMNS = [
  "layer",
  "fired",
  "predictor",
  "rank",
  "recall",
  "precision",
  "size",
  "of FFN",
  "taken",
  "speed-up",
  "time",
];

/** Speed-ups are ratios of bytes that a token reads, of the FFN but for the whole model's. */
export function reportText(report: TrainReport): string {
  const { tokens, layers, total, profileNote, collectSeconds, trainSeconds, out } = report;
  const rows = layers.map(layerCells);
  if (total !== null) rows.push(totalCells(total));
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  ");
  return `${[
    line(COLUMNS),
    ...rows.map(line),
    ...tokenLine(total),
    perplexityLine(report),
    `${tokens} tokens: collected in ${formatSeconds(collectSeconds)}, trained in ${formatSeconds(trainSeconds)}`,
    `wrote ${out}`,
    ...(profileNote === null ? [] : [profileNote]),
  ].join("\n")}\n`;
}

/** For programs. */
export function reportJson(report: TrainReport): string {
  return `${JSON.stringify(report, null, 2)}\n`;
}

function layerCells({ layer, firedShare, chosen, seconds }: LayerReport): string[] {
  const start = [String(layer), percent(firedShare)];
  const figures = chosen === null ? ["none", "-", "-", "-", "-", "-", "-", "1.00"] : chosenCells(chosen);
  return [...start, ...figures, formatSeconds(seconds)];
}

function chosenCells(chosen: CandidateReport): string[] {
  return [chosen.kind, String(chosen.rank), ...figureCells(chosen)];
}

function totalCells(total: TotalReport): string[] {
  const { firedShare, withPredictor, layers } = total;
  return ["all", percent(firedShare), `${withPredictor} of ${layers}`, "-", ...figureCells(total), "-"];
}

function figureCells(figures: Figures): string[] {
  const { recall, precision, cost, ffnShare, predictedShare } = figures;
  return [
    percent(recall),
    percent(precision),
    formatBytes(cost.predictorBytes),
    percent(ffnShare),
    percent(predictedShare),
    cost.speedUp.toFixed(2),
  ];
}

type Figures = Pick<CandidateReport, "recall" | "precision" | "cost" | "ffnShare" | "predictedShare">;

/** None unless the whole model's bytes are known. */
function tokenLine(total: TotalReport | null): string[] {
  const token = total?.token ?? null;
  if (token === null) return [];
  const { bytes, exactBytes, speedUp } = token;
  const [less, all] = [bytes, exactBytes].map((average) => formatBytes(Math.round(average)));
  return [`a token reads ${less} of weights in place of ${all}: predicted speed-up ${speedUp.toFixed(2)}`];
}

function perplexityLine({ perplexity }: TrainReport): string {
  const without = perplexity.without.estimate;
  const withThem = perplexity.with?.estimate ?? null;
  if (without === null) return "perplexity: no window was read";
  if (withThem === null) return `perplexity ${shown(without)}; no layer gains from a predictor`;
  const change = withThem.perplexity / without.perplexity - 1;
  const sign = change < 0 ? "" : "+";
  return `perplexity ${shown(without)} without predictors, ${shown(withThem)} with them: ${sign}${(100 * change).toFixed(2)} %`;
}

function shown({ perplexity }: Perplexity): string {
  return perplexity.toFixed(4);
}

function percent(share: number): string {
  return Number.isNaN(share) ? "-" : `${(100 * share).toFixed(1)} %`;
}
