/** `thermocline train-predictor` as a person calls it. */
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { Sandbox } from "./support/sandbox.js";

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
