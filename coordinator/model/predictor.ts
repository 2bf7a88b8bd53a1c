/** Whether a model's activation predictors are used, and what counts as predicted. Decided here and nowhere else. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "./model.js";

/**
 * `auto` uses the predictors of a model that has any, `on` insists on them, `off` computes every gate. A threshold uses
 * them, and takes a neuron for active where its logit reaches the threshold in place of the file's own
 * (`powerinfer.sparse_threshold`, else 0). A probability p is the logit ln(p / (1 - p)): 0 is one half.
 */
export type PredictorUse = "auto" | "on" | "off" | { threshold: number };

export const PREDICTOR_TENSOR = /^blk\.\d+\.fc[12]\.weight$/;

/**
 * The model as executors are to compute it: they use the predictors among the tensors they are told of, with the
 * threshold of the shape they are told.
 *
 * @throws ThermoclineError FAILED_PRECONDITION when predictors are asked for and there are none
 */
export function withPredictor(model: Model, use: PredictorUse): Model {
  if (use === "auto") return model;
  if (use === "off") {
    const tensors = model.tensors.filter(({ name }) => !PREDICTOR_TENSOR.test(name));
    return { ...model, tensors, hasPredictor: false };
  }
  if (!model.tensors.some(({ name }) => PREDICTOR_TENSOR.test(name))) {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `--predictor is ${predictorText(use)}, and ${model.path} has no predictor (tensors blk.N.fc1 and blk.N.fc2); ` +
        "give auto or off, or a model with predictors",
    );
  }
  return use === "on" ? model : { ...model, shape: { ...model.shape, predictorThreshold: use.threshold } };
}

/** As the option `--predictor` takes it. */
export function predictorText(use: PredictorUse): string {
  return typeof use === "string" ? use : String(use.threshold);
}
