/** `thermocline synth` as a person calls it. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, expect, test } from "vitest";
import { inTime, Sandbox } from "./support/sandbox.js";

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

test("writes a model, prints both sparsities, and the model generates", async () => {
  const file = join(sandbox.path, "tiny.pwri");
  const { code, stdout, stderr } = await sandbox.run("synth", file, "--predictor-rank", "128");
  expect(stderr).toContain(`wrote ${file}: `);
  expect(stdout).toMatch(
    /^sparsity: asked for 90\.00 %, measured (89|90)\.\d\d % over 128 random tokens \(layers: /,
  );
  expect(stdout).toMatch(/\npredictors: find \d+\.\d\d % of the neurons that fire/);
  expect(code).toBe(0);
  const generated = await sandbox.run(
    "generate",
    "--model",
    file,
    "--prompt",
    "the",
    "--max-tokens",
    "4",
    "--predictor",
    "-0.5",
  );
  expect(generated.code).toBe(0);
  expect(generated.stdout.length).toBeGreaterThan("the\n".length);
});

test("leaves nothing behind when it is interrupted", async () => {
  const file = join(sandbox.path, "large.gguf");
  const command = sandbox.thermocline("synth", file, "--preset", "llama-7b");
  const isAtWork = () => readdirSync(sandbox.path).some((name) => name.endsWith(".part"));
  while (!isAtWork() && command.child.exitCode === null) await delay(5);
  command.kill("SIGINT");
  const { code, stderr } = await inTime(command.ended, "the end");
  expect(stderr).toContain("the synthesis was interrupted; nothing was written");
  expect(code).toBe(130);
  expect(sandbox.leftovers()).toEqual([]);
});
