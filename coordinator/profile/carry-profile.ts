/** Takes the profile beside a model along when the model is written again: its neurons stay what and where they were. */
import { existsSync } from "node:fs";
import { ThermoclineError } from "../../proto/errors.js";
import { loadModel } from "../model/load-model.js";
import type { ActivationProfile } from "./activation-profile.js";
import { profilePath, readProfile, writeProfile } from "./profile-file.js";
import { type ProfiledModel, profiledModel } from "./profiled-model.js";

/**
 * Writes the profile beside the model `from`, if there is one, for the model `to`, with the counts it has.
 *
 * @param path where it is written
 * @param replace whether another model's profile may be replaced there; one of this very model stays
 * @returns what was done, in a sentence for people; null when there is no profile beside `from`
 * @throws ThermoclineError when it cannot be written
 */
export async function carryProfile(
  from: string,
  to: string,
  { path = profilePath(to), replace }: { path?: string; replace: boolean },
): Promise<string | null> {
  const source = profilePath(from);
  if (!existsSync(source)) return null;
  const known = await readOr(source, async () => profiledModel(await loadModel(from, {})));
  if (known instanceof ThermoclineError) return `${source} was not taken along: ${known.message}`;
  const model = await profiledModel(await loadModel(to, {}));
  if (existsSync(path)) {
    const there = await readOr(path, async () => model);
    if (!(there instanceof ThermoclineError)) return `kept ${path}, which is this very model's`;
    if (!replace) {
      return `${source} was not taken along: ${path} is another model's; give --force to replace it`;
    }
  }
  await writeProfile(path, known, model);
  return `wrote ${path}: the profile ${source}, since the neurons are the same`;
}

/** The profile, or why there is none to be had. */
async function readOr(
  path: string,
  model: () => Promise<ProfiledModel>,
): Promise<ActivationProfile | ThermoclineError> {
  try {
    const profile = await readProfile(path, await model());
    return profile ?? new ThermoclineError("NOT_FOUND", `${path}: there is no such file`);
  } catch (error) {
    if (error instanceof ThermoclineError) return error;
    throw error;
  }
}
