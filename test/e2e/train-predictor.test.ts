/** `thermocline train-predictor` as a person calls it. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { recordBytes } from "../../coordinator/predictors/row-sets.js";
import { inTime, Sandbox } from "./support/sandbox.js";

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

function textOf(sentences: number): string {
  const path = join(sandbox.path, "text.txt");
  const animals = ["cat", "dog", "frog", "bird", "fish", "bear"];
  const sentence = (number: number) =>
    `The ${animals[number % 6]} saw ${number} red balls and gave one to the ${animals[(number * number) % 5]}.`;
  writeFileSync(path, Array.from({ length: sentences }, (_, number) => sentence(number)).join("\n"));
  return path;
}

test("writes the model with predictors for the layers asked for, which other commands use", async () => {
  const text = textOf(130);
  const out = join(sandbox.path, "out.gguf");
  const args = [
    "--text",
    text,
    "--out",
    out,
    "--layers",
    "2-3",
    "--max-rank",
    "32",
    "--epochs",
    "1",
    "--threads",
    "2",
  ];
  const trained = await sandbox.run("train-predictor", ...args, "--json");
  expect(trained).toMatchObject({ code: 0 });
  const report = JSON.parse(trained.stdout) as {
    layers: { layer: number; chosen: { recall: number } | null }[];
  };
  expect(report.layers.map(({ layer }) => layer)).toEqual([2, 3]);
  for (const { chosen } of report.layers) expect(chosen?.recall).toBeGreaterThan(0.8);
  expect(existsSync(`${out}.train`)).toBe(false);
  // The bundled model has a profile.
  const profile = await sandbox.run("profile", "--model", out, "--json");
  expect(JSON.parse(profile.stdout)).toMatchObject({ profile: join(sandbox.path, "out.profile.gguf") });

  const inspected = await sandbox.run("inspect", out);
  expect(inspected.stdout).toMatch(/predictor +yes/);
  const measured = await sandbox.run(
    "perplexity",
    "--model",
    out,
    "--text",
    text,
    "--chunks",
    "2",
    "--predictor",
    "on",
  );
  expect(measured).toMatchObject({ code: 0 });
  expect(measured.stdout).toMatch(/^PPL = [\d.]+ .*\npredictors took [\d.]+ % for active/s);

  const again = await sandbox.run("train-predictor", ...args);
  expect(again).toMatchObject({ code: 1 });
  expect(again.stderr).toContain("exists already; give --force");
});

/** Starts the command and ends it as soon as `reached`. @returns what it said */
async function endAt(
  reached: () => boolean,
  signal: "SIGKILL" | "SIGINT",
  args: readonly string[],
): Promise<string> {
  const command = sandbox.thermocline(...args);
  let hasEnded = false;
  void command.ended.then(() => {
    hasEnded = true;
  });
  const poll = async () => {
    while (!reached() && !hasEnded) await delay(2);
  };
  await inTime(poll(), String(reached));
  command.kill(signal);
  const { code, stderr } = await inTime(command.ended, "the end");
  expect(code, stderr).toBe(signal === "SIGINT" ? 130 : signal);
  return stderr;
}

/** Each of which has its executors started, up to three times. */
const SEVEN_RUNS_MS = 180_000;

test("killed or interrupted wherever it is, it goes on and writes the file of one run", {
  timeout: SEVEN_RUNS_MS,
}, async () => {
  const model = join(sandbox.path, "model.pwri");
  const shape = ["--layers", "2", "--embd", "256", "--heads", "4", "--ff", "512", "--ctx", "64"];
  const made = await sandbox.run("synth", model, ...shape, "--predictor-rank", "64", "--no-measure");
  expect(made).toMatchObject({ code: 0 });
  const text = textOf(200);
  const args = (out: string) => [
    ...["train-predictor", "--model", model, "--text", text, "--out", out, "--tokens", "3840"],
    ...["--epochs", "6", "--max-rank", "32", "--threads", "2"],
    ...["--activation", "relu2", "--relu-threshold", "0.25"],
  ];
  const once = join(sandbox.path, "once.pwri");
  expect(await sandbox.run(...args(once))).toMatchObject({ code: 0 });

  const out = join(sandbox.path, "out.pwri");
  const work = `${out}.train`;
  const there = (file: string) => () => existsSync(join(work, file));
  const windowsDone = (): number => {
    if (!there("collection.json")()) return 0;
    return (JSON.parse(readFileSync(join(work, "collection.json"), "utf8")) as Record<string, number>)
      .windowsDone as number;
  };
  const goesOn = (windows: number) => `goes on in ${work}, which has ${windows} of 60 windows`;

  // Behind the first note, after eight windows: what was read since is read again.
  const trainingRows = join(work, "layer-0.training.rows");
  const behindNote = () =>
    existsSync(trainingRows) && statSync(trainingRows).size > 8.5 * 64 * recordBytes({ embd: 256, ff: 512 });
  expect(await endAt(behindNote, "SIGKILL", args(out))).toMatch(
    /^collects activations of 60 windows, [\d.]+ MiB, in .*out\.pwri\.train$/m,
  );
  const first = windowsDone();
  expect(first).toBeGreaterThan(0);
  const interrupted = await endAt(() => windowsDone() > first, "SIGINT", args(out));
  expect(interrupted).toContain(goesOn(first));
  expect(interrupted).toContain(`what was done is in ${work}; the same command goes on from there\n`);
  const second = windowsDone();
  expect(second).toBeLessThan(60);
  expect(await endAt(there("layer-0.checkpoint"), "SIGKILL", args(out))).toContain(goesOn(second));
  expect(await endAt(there("layer-1.checkpoint"), "SIGINT", args(out))).toContain(goesOn(60));
  expect(await endAt(there("model.gguf"), "SIGKILL", args(out))).toContain(goesOn(60));
  expect(existsSync(out)).toBe(false);
  expect(await sandbox.run(...args(out))).toMatchObject({ code: 0 });
  expect(readFileSync(out).equals(readFileSync(once))).toBe(true);
  const { stdout } = await sandbox.run("inspect", out);
  expect(stdout).toMatch(/activation +relu2, threshold 0\.25: metadata key/);
  expect(sandbox.leftovers()).toEqual(
    ["model.pwri", "once.pwri", "out.pwri", "text.txt"].map((name) => `file ${name}`),
  );
});

test("refuses a model whose neurons are all active", async () => {
  const model = join(sandbox.path, "silu.gguf");
  await sandbox.run("synth", model, "--preset", "tiny", "--activation", "silu");
  const refused = await sandbox.run(
    "train-predictor",
    "--model",
    model,
    "--text",
    textOf(3),
    "--out",
    `${model}.out`,
  );
  expect(refused).toMatchObject({ code: 1, stdout: "" });
  expect(refused.stderr).toMatch(/^thermocline: .*silu.gguf: its activation is silu.*\n$/);
});
