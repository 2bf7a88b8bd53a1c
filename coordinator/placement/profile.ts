/** What placement takes from the profile beside a model: how often each neuron fires. */
import { existsSync } from "node:fs";
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

/** The profile beside a model, or null when there is none. One that does not fit the model is an error. */
export async function loadProfile(model: Model): Promise<Profile | null> {
  const path = profilePath(model.path);
  if (!existsSync(path)) return null;
  const profile = await readProfile(path, await profiledModel(model));
  return profile === null ? null : placementProfile(path, profile);
}

/** A profile as placement takes it. */
export function placementProfile(path: string, profile: ActivationProfile): Profile {
  const { layers, ff } = profile.shape;
  const totals = profile.totals();
  const counts = Array.from({ length: layers }, (_, layer) => totals.slice(layer * ff, (layer + 1) * ff));
  return { path, tokens: profile.tokens, counts };
}
