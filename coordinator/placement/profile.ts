/** What placement takes from the profile beside a model: how often each neuron fires. */
import { existsSync } from "node:fs";
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import type { ActivationProfile } from "../profile/activation-profile.js";
import { profilePath, readProfile } from "../profile/profile-file.js";
import { profiledModel } from "../profile/profiled-model.js";

export interface Profile {
  path: string;
  /** That the counts were taken over. */
  tokens: number;
  /** One array of `ff` counts a layer. */
  counts: Float32Array[];
}

/**
 * @param given the path of a profile; null takes the one beside the model
 * @returns null when there is none beside the model
 * @throws ThermoclineError INVALID_ARGUMENT when there is none where it was said to be; as `readProfile` does for one of
 *   another model
 */
export async function loadProfile(model: Model, given: string | null): Promise<Profile | null> {
  const path = given ?? profilePath(model.path);
  if (given !== null && !existsSync(given)) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `--profile ${given}: there is no such file; check the path, or make it with thermocline profile --out`,
    );
  }
  const profile = existsSync(path) ? await readProfile(path, await profiledModel(model)) : null;
  return profile === null ? null : placementProfile(path, profile);
}

/** A profile as placement takes it. */
export function placementProfile(path: string, profile: ActivationProfile): Profile {
  const { layers, ff } = profile.shape;
  const totals = profile.totals();
  const counts = Array.from({ length: layers }, (_, layer) => totals.slice(layer * ff, (layer + 1) * ff));
  return { path, tokens: profile.tokens, counts };
}
