/** What becomes of the profile beside a model that is written again. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { requantize } from "../../coordinator/model/requantize.js";
import { loadProfile } from "../../coordinator/placement/profile.js";
import type { ActivationProfile } from "../../coordinator/profile/activation-profile.js";
import { carryProfile } from "../../coordinator/profile/carry-profile.js";
import { profilePath, readProfile, writeProfile } from "../../coordinator/profile/profile-file.js";
import { profiledModel } from "../../coordinator/profile/profiled-model.js";
import { profileOf } from "../support/profiles.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
let count = 0;
let source: Model;
let copy: Model;
let profile: ActivationProfile;
beforeEach(async () => {
  const made = join(folder, String(count++));
  mkdirSync(made);
  source = await writeTinyModel(join(made, "source.gguf"), { layers: 2 });
  const path = join(made, "copy.gguf");
  await requantize(source.path, path, {
    types: { matrices: "q8_0", predictors: "q8_0" },
    replace: false,
    onProgress: () => undefined,
    signal: null,
  });
  copy = await loadModel(path, {});
  profile = counted(1);
});

function counted(factor: number): ActivationProfile {
  return profileOf(source, { "a.txt": Array.from({ length: 2 * source.shape.ff }, (_, n) => factor * n) });
}

async function write(of: Model, what = profile): Promise<void> {
  await writeProfile(profilePath(of.path), what, await profiledModel(of));
}

const carry = (replace = false) => carryProfile(source.path, copy.path, { replace });
const read = async (of: Model) => readProfile(profilePath(of.path), await profiledModel(of));

test("no profile, no word", async () => {
  expect(await carry()).toBeNull();
  expect(existsSync(profilePath(copy.path))).toBe(false);
});

test("the copy gets one with the same counts and sources, which placement takes", async () => {
  await write(source);
  expect(await carry()).toBe(
    `wrote ${profilePath(copy.path)}: the profile ${profilePath(source.path)}, since the neurons are the same`,
  );
  expect(await read(copy)).toEqual(profile);
  expect((await loadProfile(copy, null))?.counts).toEqual((await loadProfile(source, null))?.counts);
});

test("one of the copy's own stays, even where files are replaced", async () => {
  await write(source);
  await write(copy, counted(2));
  expect(await carry(true)).toBe(`kept ${profilePath(copy.path)}, which is this very model's`);
  expect(await read(copy)).toEqual(counted(2));
});

test("another model's is replaced with --force only", async () => {
  await write(source);
  const there = profilePath(copy.path);
  copyFileSync(profilePath(source.path), there);
  expect(await carry()).toBe(
    `${profilePath(source.path)} was not taken along: ${there} is another model's; give --force to replace it`,
  );
  expect(readFileSync(there).equals(readFileSync(profilePath(source.path)))).toBe(true);
  expect(await carry(true)).toMatch(/^wrote /);
  expect(await read(copy)).toEqual(profile);
});

test("what is no profile of the source is left where it is", async () => {
  writeFileSync(profilePath(source.path), "no profile");
  expect(await carry()).toMatch(/source\.profile\.gguf was not taken along: .*source\.profile\.gguf: /);
  await write(copy);
  copyFileSync(profilePath(copy.path), profilePath(source.path));
  expect(await carry()).toMatch(/was not taken along: the profile .* does not belong to this model/);
});
