/** Profiles of models on real executors. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { type PerplexityOptions, runPerplexity } from "../../coordinator/perplexity/run.js";
import { summarize } from "../../coordinator/profile/analysis.js";
import { LIVE_DEFAULTS, LiveRecorder } from "../../coordinator/profile/live-recorder.js";
import { type ProfileOptions, type ProfileStage, runProfile } from "../../coordinator/profile/run.js";
import { DIST, ENTRIES, groupOf, LIMITS, PROMPT, Scratch, spawned } from "../support/executor-processes.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const TEXT =
  "Once upon a time there was a small boat that lived on a big lake. Every day it went out to look for fish. One day " +
  "the wind was very strong. The boat was scared, but a kind gull showed it the way home.";
const textPath = join(folder, "boat.txt");
writeFileSync(textPath, `${TEXT}\n`);
const otherPath = join(folder, "cat.txt");
writeFileSync(
  otherPath,
  "The cat sat on the red mat and saw a dog. The dog ran to the cat, and they played all day.\n",
);

/** Every stack is one thread's: two cores are shared by all tests. */
const EXECUTION = {
  modelPath: bundledModelPath(),
  activation: null,
  reluThreshold: null,
  predictor: "off",
  gpu: "off",
  vramBudgetBytes: null,
  cpuExecutors: 1,
  threads: 1,
  repack: true,
  placementPath: null,
  profilePath: null,
  executorAddresses: [],
  contextLength: 16,
  logLevel: "warn",
} as const;
const WATCH = {
  entries: ENTRIES,
  encoderEntry: pathToFileURL(join(DIST, "coordinator/model/tokenizer/encode-worker.js")),
};
let files = 0;

function run(
  given: Partial<ProfileOptions> = {},
  onStage: (stage: ProfileStage) => void = () => undefined,
  signal = new AbortController().signal,
) {
  const options = { ...EXECUTION, textPaths: [textPath], mostTokens: null, fresh: false, ...given };
  const path = options.profilePath ?? join(folder, `${files++}.profile.gguf`);
  return runProfile({ ...options, profilePath: path }, { ...WATCH, onStage, signal });
}

test("counts every neuron that timing records say fired", async () => {
  // Perplexity does not feed a window's last token, so that its windows are one longer.
  const perplexity: PerplexityOptions = { ...EXECUTION, textPath, chunks: 1, contextLength: 41 };
  const measured = await runPerplexity(perplexity, {
    ...WATCH,
    onStage: () => undefined,
    signal: new AbortController().signal,
  });
  const { profile, counted } = await run({ contextLength: 40, mostTokens: 40 });
  expect(counted).toMatchObject({ tokensRead: 40, tokens: 40 });
  expect(measured.tokensRead).toBe(40);
  expect(summarize(profile).firing).toBeCloseTo(measured.firedShare, 12);
  expect(
    profile.strengths.every((strength, neuron) => strength > 0 === (profile.totals()[neuron] ?? 0) > 0),
  ).toBe(true);
});

test("interrupted and called again, on other executors, it writes the file of one run", async () => {
  const whole = await run();
  const control = new AbortController();
  const path = join(folder, "resumed.profile.gguf");
  const atThird = (stage: ProfileStage) => {
    if (stage.kind === "counting" && stage.tokensRead === 48) control.abort(new Error("enough"));
  };
  const first = await run({ profilePath: path }, atThird, control.signal);
  expect(first.profile.tokens).toBe(32);
  const second = await run({ profilePath: path, gpu: "host", threads: 2 });
  expect(second.counted.tokensRead).toBe(whole.counted.tokensRead - 32);
  expect(readFileSync(path)).toEqual(readFileSync(whole.path));
  const third = await run({ profilePath: path });
  expect(third.counted.tokensRead).toBe(0);
  expect(readFileSync(path)).toEqual(readFileSync(whole.path));
});

test("further texts, and more of one, are added; a fresh profile has none of what was there", async () => {
  const path = join(folder, "grown.profile.gguf");
  await run({ profilePath: path, mostTokens: 20 });
  await run({ profilePath: path, textPaths: [otherPath] });
  const { profile } = await run({ profilePath: path, textPaths: [textPath, textPath] });
  const apart = await Promise.all([run(), run({ textPaths: [otherPath] })]);
  expect(profile.sources).toEqual(apart.flatMap((each) => each.profile.sources));
  expect(profile.sources.map(({ name }) => name)).toEqual(["boat.txt", "cat.txt"]);
  const shown = await run({ profilePath: path, textPaths: [] });
  expect(shown.profile).toEqual(profile);
  const fresh = await run({ profilePath: path, textPaths: [otherPath], fresh: true });
  expect(fresh.profile.sources).toEqual(apart[1]?.profile.sources);
});

test("what does not go together is refused", async () => {
  const { path } = await run({ mostTokens: 16 });
  const given = { profilePath: path };
  await expect(run({ ...given, contextLength: 32 })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: `${textPath}: was read in windows of 16 tokens, and would be in windows of 32 now; give --ctx 16, or begin the profile anew with --fresh`,
  });
  await expect(run({ ...given, reluThreshold: 0.5 })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringMatching(
      /was taken with relu and the threshold 0, and this run has relu and 0\.5; keep them/,
    ),
  });
  await expect(run({ activation: "silu" })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringMatching(/its activation is silu, under which every neuron fires/),
  });
  await expect(run({ textPaths: [] })).rejects.toMatchObject({ code: "NOT_FOUND" });
});

test("a live recorder in front of a group counts what its executors do", async () => {
  const scratch = new Scratch();
  const model = await writeTinyModel(join(folder, "tiny.gguf"), {});
  const group = groupOf(model, [spawned("cpu"), spawned("gpu")], { observation: "counts", limits: LIMITS });
  try {
    await group.open();
    await group.run(PROMPT, true);
    const direct = group.observed((steps) => steps.takeCounts());
    const onError = (error: unknown) => expect.unreachable(String(error));
    const recorder = new LiveRecorder(group, model.shape, { ...LIVE_DEFAULTS, observeEvery: 1, onError });
    await recorder.run(PROMPT);
    const { counts, strengths, tokens } = recorder.take();
    expect(tokens).toBe(PROMPT.length);
    expect(Array.from(counts)).toEqual(Array.from(direct?.counts ?? []));
    expect(strengths).toEqual(direct?.strengths);
    expect(counts.some((count) => count > 0)).toBe(true);
  } finally {
    await group.close();
    await scratch.remove();
  }
});
