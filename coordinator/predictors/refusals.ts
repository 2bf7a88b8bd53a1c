/** What cannot be trained, said before any work is done. */
import { existsSync } from "node:fs";
import type { WeightType } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import { tensorTypeNumber, WEIGHT_TYPES } from "../model/tensor-types.js";
import { leastRank } from "./train-layer.js";

/** @throws ThermoclineError FAILED_PRECONDITION */
export function refuseDense({ path, shape }: Model): void {
  if (shape.activation !== "silu") return;
  throw new ThermoclineError(
    "FAILED_PRECONDITION",
    `${path}: its activation is silu, under which every neuron is active, so there is nothing to predict; give a model ` +
      "with ReLU gates, or say with --activation that it has them if the file names the wrong one",
  );
}

/**
 * Training takes it that a gate's sign does not change with its input's length, as RMSNorm has it and LayerNorm's bias
 * does not.
 *
 * @throws ThermoclineError UNIMPLEMENTED
 */
export function refuseLayerNorm({ path, architecture, shape }: Model): void {
  if (shape.norm === "rms") return;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${path}: predictors cannot be trained yet for models with LayerNorm, such as those of the architecture ` +
      `${architecture}; give one with RMSNorm, or run this one without predictors`,
  );
}

/** @throws ThermoclineError INVALID_ARGUMENT where predictors cannot be stored as that type */
export function refuseType({ path, file, shape }: Model, type: WeightType, mostRank: number): void {
  const { name, blockSize } = WEIGHT_TYPES[type];
  const refuse = (why: string) => new ThermoclineError("INVALID_ARGUMENT", `${path}: ${why}`);
  if (tensorTypeNumber(file.format, name) === null) {
    throw refuse(`${file.format.toUpperCase()} files have no type ${name}; choose --type f16`);
  }
  if (shape.embd % blockSize !== 0) {
    throw refuse(
      `its width ${shape.embd} is no multiple of the ${blockSize} elements that ${name} stores together; choose --type f16`,
    );
  }
  const least = leastRank(type);
  if (mostRank >= least) return;
  throw refuse(
    `the least rank of predictors stored as ${name} is ${least}; give that to --max-rank, or more`,
  );
}

/** @throws ThermoclineError FAILED_PRECONDITION */
export function refuseExisting({ out, replace }: { out: string; replace: boolean }): void {
  if (replace || !existsSync(out)) return;
  throw new ThermoclineError("FAILED_PRECONDITION", `${out}: exists already; give --force to replace it`);
}

/** The layers of a range, all for null. @throws ThermoclineError INVALID_ARGUMENT */
export function layersOf({ path, shape }: Model, range: { first: number; last: number } | null): number[] {
  const { first, last } = range ?? { first: 0, last: shape.layers - 1 };
  if (first <= last && last < shape.layers) {
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  }
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `--layers is ${first}-${last}, and ${path} has layers 0 to ${shape.layers - 1}; give a range of those`,
  );
}
