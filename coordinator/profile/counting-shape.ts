/** Whether a run of a model may be counted, and added to what a profile has. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import type { ActivationProfile } from "./activation-profile.js";

/**
 * @param known what is in the profile `path`; null for a new one
 * @throws ThermoclineError FAILED_PRECONDITION
 */
export function checkCounting(
  path: string,
  known: ActivationProfile | null,
  { shape, path: modelPath }: Pick<Model, "shape" | "path">,
): void {
  if (shape.activation === "silu") {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `${modelPath}: its activation is silu, under which every neuron fires for every token, so that there is nothing ` +
        "to profile; use a ReLU model, or override the activation with --activation if the file names the wrong one",
    );
  }
  if (known === null) return;
  const { activation, reluThreshold } = known.shape;
  if (activation === shape.activation && reluThreshold === shape.reluThreshold) return;
  throw new ThermoclineError(
    "FAILED_PRECONDITION",
    `the profile ${path} was taken with ${activation} and the threshold ${reluThreshold}, and this run has ` +
      `${shape.activation} and ${shape.reluThreshold}; keep them apart in another file, or begin anew with --fresh`,
  );
}
