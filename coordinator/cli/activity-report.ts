/** What `thermocline synth` says about a model's sparsity: what was asked for, and what it was when it ran. */
import type { Activity } from "../measure-activity.js";
import type { SynthOptions } from "../model/synth/options.js";
import { percent, range } from "./figures.js";

/** @param activity null when the model was not run */
export function activityReport(
  { sparsity }: Pick<SynthOptions, "sparsity">,
  activity: Activity | null,
): string {
  const asked = `sparsity: asked for ${percent(sparsity ?? 0)}`;
  if (activity === null) return `${asked}, not measured (--measure runs the model)`;
  const { tokens, layers } = activity;
  const sparsities = layers.map(({ firing }) => 1 - firing);
  const lines = [
    `${asked}, measured ${percent(mean(sparsities))} over ${tokens} random tokens (layers: ${range(sparsities)})`,
  ];
  const predictors = layers.flatMap(({ predictor }) => (predictor === null ? [] : [predictor]));
  if (predictors.length > 0) {
    const recalls = predictors.map(({ recall }) => recall);
    const predicted = mean(predictors.map((predictor) => predictor.predicted));
    lines.push(
      `predictors: find ${percent(mean(recalls))} of the neurons that fire (layers: ${range(recalls)}) and take ` +
        `${percent(predicted)} of all for active`,
    );
  }
  return lines.join("\n");
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
