/** Profiles with counts that tests know. */
import type { Model } from "../../coordinator/model/model.js";
import { ActivationProfile, LIVE_SOURCE } from "../../coordinator/profile/activation-profile.js";

/** Where a test's texts come from, as a profile knows them. */
export function textSource(name: string) {
  return { name, digest: name.padEnd(64, "0"), contextLength: 16 };
}

/** @param sources one array of layers * ff counts each, of 1000 tokens each */
export function profileOf(
  { shape }: Pick<Model, "shape">,
  sources: Record<string, ArrayLike<number>>,
): ActivationProfile {
  const profile = new ActivationProfile(shape);
  for (const [name, counts] of Object.entries(sources)) {
    const source = profile.source(name === LIVE_SOURCE.name ? LIVE_SOURCE : textSource(name));
    const strengths = Float32Array.from(counts, (count) => count / 3);
    profile.add(source, { counts: Uint32Array.from(counts), strengths, tokens: 1000 });
    source.windows = source.contextLength === 0 ? 0 : 7;
  }
  return profile;
}
