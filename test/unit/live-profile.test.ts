/** Adding a server's counts to a profile file. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { beforeEach, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import type { CountedTokens } from "../../coordinator/profile/activation-profile.js";
import { LiveProfile } from "../../coordinator/profile/live-profile.js";
import { readProfile, writeProfile } from "../../coordinator/profile/profile-file.js";
import { profiledModel } from "../../coordinator/profile/profiled-model.js";
import { profileOf } from "../support/profiles.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const NEURONS = 2 * 64;
let files = 0;
let model: Model;
let path: string;
let lines: string[];
beforeEach(async () => {
  model = await writeTinyModel(join(folder, `model-${files}.gguf`), { layers: 2, ff: 64 });
  path = join(folder, `live-${files++}.gguf`);
  lines = [];
});

/** Ten tokens, for each of which every neuron fires, are there to be taken whenever {@link fill} was called. */
class Recorder {
  private counted = this.of(0);

  fill(): void {
    this.counted = this.of(10);
  }

  take(): CountedTokens {
    const { counted } = this;
    this.counted = this.of(0);
    return counted;
  }

  giveBack(counted: CountedTokens): void {
    this.counted = counted;
  }

  private of(tokens: number): CountedTokens {
    return {
      counts: new Float64Array(NEURONS).fill(tokens),
      strengths: new Float32Array(NEURONS).fill(tokens / 2),
      tokens,
    };
  }
}

function open(recorder: Recorder): Promise<LiveProfile> {
  const log = pino({ level: "warn" }, { write: (line: string) => void lines.push(line) });
  return LiveProfile.open(path, model, recorder, log);
}

test("adds to what the file has by then, under a source of its own", async () => {
  const recorder = new Recorder();
  const live = await open(recorder);
  const profiled = await profiledModel(model);
  await writeProfile(path, profileOf(model, { "a.txt": new Array(NEURONS).fill(3) }), profiled);
  recorder.fill();
  await live.save();
  await live.save();
  recorder.fill();
  await live.close();
  const profile = await readProfile(path, profiled);
  expect(profile?.sources.map(({ name, tokens }) => [name, tokens])).toEqual([
    ["a.txt", 1000],
    ["live traffic", 20],
  ]);
  expect(profile?.totals()).toEqual(new Float32Array(NEURONS).fill(23));
  expect(profile?.strengths).toEqual(new Float32Array(NEURONS).fill(11));
  expect(lines).toEqual([]);
});

test("writes no file while nothing was counted", async () => {
  const live = await open(new Recorder());
  await live.close();
  expect(await readProfile(path, await profiledModel(model))).toBeNull();
});

test("logs what fails, and keeps the counts for the next time", async () => {
  const recorder = new Recorder();
  const live = await open(recorder);
  mkdirSync(path);
  recorder.fill();
  await live.save();
  expect(lines).toHaveLength(1);
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({
    msg: "the live profile could not be saved; it is tried again in a minute",
  });
  rmSync(path, { recursive: true });
  await live.close();
  const profile = await readProfile(path, await profiledModel(model));
  expect(profile?.tokens).toBe(10);
});

test("is refused from the start where it could never be saved", async () => {
  writeFileSync(path, "no profile");
  await expect(open(new Recorder())).rejects.toThrow(/is not a GGUF file/);
  const silu = { ...model, shape: { ...model.shape, activation: "silu" } as const };
  model = silu;
  rmSync(path);
  await expect(open(new Recorder())).rejects.toThrow(/its activation is silu/);
});
