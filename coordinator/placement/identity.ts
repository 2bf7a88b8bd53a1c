/** What makes two models, profiles or sets of executors the same to placement. */
import { createHash } from "node:crypto";
import { statSync } from "node:fs";
import { machine } from "../../native/index.js";
import type { Model } from "../model/model.js";
import type { Profile } from "./profile.js";
import type { PlacementExecutor } from "./schedule.js";

/** Shape, tensors and whether predictors are used: all that decides what a step costs and who can compute what. */
export function modelDigest({ shape, tensors }: Pick<Model, "shape" | "tensors">): string {
  return createHash("sha256").update(JSON.stringify({ shape, tensors })).digest("hex");
}

/** The file, and what of it is computed with. */
export function modelIdentity(model: Pick<Model, "path" | "fileBytes" | "shape" | "tensors">): unknown {
  return { bytes: model.fileBytes, modifiedMs: statSync(model.path).mtimeMs, digest: modelDigest(model) };
}

/** Models of one kind run at the same speed: the shape and types of a layer, not how many there are. */
export function kernelIdentity({
  shape,
  tensors,
  hasPredictor,
}: Pick<Model, "shape" | "tensors" | "hasPredictor">): unknown {
  const { embd, heads, kvHeads, headDim, ff, vocab, activation } = shape;
  const types = tensors
    .filter(({ name }) => !name.startsWith("blk.") || name.startsWith("blk.0."))
    .map(({ name, type, rows, cols }) => [name, type, rows, cols]);
  return { embd, heads, kvHeads, headDim, ff, vocab, activation, hasPredictor, types };
}

export function profileDigest(profile: Profile | null): string | null {
  if (profile === null) return null;
  const hash = createHash("sha256").update(String(profile.tokens));
  for (const counts of profile.counts) hash.update(counts);
  return hash.digest("hex");
}

/** This computer, and the executors on it; of these, what decides their speed. */
export function computerIdentity(executors: readonly PlacementExecutor[]): unknown {
  const { cpu, cores, memoryBytes, instructionSets } = machine();
  return {
    ...{ cpu, cores, memoryBytes, instructionSet: instructionSets.at(-1) ?? null },
    executors: executors.map(({ kind, device, card, threads }) => [kind, device, card, threads]),
  };
}
