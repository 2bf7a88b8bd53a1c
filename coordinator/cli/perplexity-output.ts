/** What `thermocline perplexity` shows while it runs, and at its end. */
import { formatBytes } from "../../proto/units.js";
import type { Perplexity } from "../perplexity/estimate.js";
import type { PerplexityReport, PerplexityStage } from "../perplexity/run.js";
import { duration, percent } from "./figures.js";

export function stageText(stage: PerplexityStage): string {
  switch (stage.kind) {
    case "tokenizing":
      return `tokenizing ${stage.characters} characters`;
    case "loading":
      return `loading the model: ${formatBytes(stage.bytesDone)} of ${formatBytes(stage.bytesTotal)}`;
    case "measuring": {
      const { windowsDone, windows, share, seconds, perplexity } = stage;
      const running = perplexity === null ? "" : `, PPL ${perplexity.toFixed(4)}`;
      const left = duration((seconds / share) * (1 - share));
      return `${windowsDone} of ${windows} windows (${(100 * share).toFixed(0)} %)${running}, ${left} left`;
    }
  }
}

/** For people. */
export function reportText(
  report: PerplexityReport,
  { perplexity, standardError, tokens }: Perplexity,
): string {
  const { windowsDone, windows, contextLength, model } = report;
  const error = standardError === null ? "" : ` +/- ${standardError.toFixed(5)}`;
  const lines = [
    `PPL = ${perplexity.toFixed(4)}${error}`,
    `${tokens} tokens scored: the second half of each window of ${contextLength}, ${windowsDone} of ${windows} windows`,
    `${tokensPerS(report).toFixed(1)} tokens/s, ${percent(report.firedShare)} of the neurons active`,
  ];
  if (model.hasPredictor) {
    lines.push(
      `predictors took ${percent(report.predictedShare)} for active, from the logit ${model.shape.predictorThreshold} on`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** For programs. */
export function reportJson(report: PerplexityReport, estimate: Perplexity): string {
  const { model, contextLength, windows, windowsDone, tokensRead, seconds } = report;
  const values = {
    model: model.path,
    activation: model.shape.activation,
    reluThreshold: model.shape.reluThreshold,
    predictorThreshold: model.hasPredictor ? model.shape.predictorThreshold : null,
    contextLength,
    windows,
    windowsDone,
    tokensScored: estimate.tokens,
    meanNll: estimate.meanNll,
    perplexity: estimate.perplexity,
    standardError: estimate.standardError,
    tokensRead,
    seconds,
    tokensPerS: tokensPerS(report),
    activeShare: report.firedShare,
    predictedShare: model.hasPredictor ? report.predictedShare : null,
  };
  return `${JSON.stringify(values, null, 2)}\n`;
}

function tokensPerS({ tokensRead, seconds }: PerplexityReport): number {
  return tokensRead / seconds;
}
