/** `thermocline profile`, and `serve --live-profile`, as a person calls them. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { inTime, Sandbox } from "./support/sandbox.js";

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

function textOf(name: string, sentences: number, animal: string): string {
  const path = join(sandbox.path, name);
  const sentence = (number: number) => `The ${animal} saw ${number} red balls and gave one to the dog.`;
  writeFileSync(path, Array.from({ length: sentences }, (_, number) => sentence(number)).join("\n"));
  return path;
}

test("prints sparsity, hot neurons and overlap, draws them, and shows the profile again", async () => {
  const out = join(sandbox.path, "a.profile.gguf");
  const plot = join(sandbox.path, "plot.svg");
  const texts = [textOf("cat.txt", 20, "cat"), textOf("frog.txt", 30, "frog")];
  const args = ["profile", "--out", out, "--ctx", "64", "--threads", "2"];
  const made = await sandbox.run(...args, "--text", ...texts, "--plot", plot, "--gpu", "host");
  expect(made.code).toBe(0);
  expect(made.stdout).toMatch(
    /^\d+ tokens \(\d+ read now, [\d.]+ tokens\/s\): cat\.txt \(\d+\), frog\.txt \(\d+\)\n[\d.]+ % of the neurons fire .*sparsity.*\n[\d.]+ % of the neurons carry 80 % .*\nhot neurons of cat\.txt and frog\.txt: [\d.]+ % in common; .*\nprofile: .*a\.profile\.gguf\n$/,
  );
  expect(readFileSync(plot, "utf8")).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
  const shown = await sandbox.run("profile", "--out", out, "--json");
  expect(shown).toMatchObject({ code: 0, stderr: "" });
  const report = JSON.parse(shown.stdout) as Record<string, unknown>;
  expect(report).toMatchObject({
    profile: out,
    activation: "relu",
    tokensRead: 0,
    sources: [
      { name: "cat.txt", contextLength: 64 },
      { name: "frog.txt", contextLength: 64 },
    ],
    overlaps: [{ texts: ["cat.txt", "frog.txt"] }],
  });
  expect(made.stdout).toContain(`${(100 * Number(report.hot)).toFixed(2)} % of the neurons carry 80 %`);
});

/** Until some windows have been read, most likely; the test holds wherever the command is then. */
const AT_WORK_MS = 1000;

test("interrupted and called again, it writes the file that one run writes", async () => {
  const text = textOf("long.txt", 1000, "bear");
  const args = (out: string) => ["profile", "--text", text, "--out", out, "--ctx", "64", "--gpu", "off"];
  const once = join(sandbox.path, "once.profile.gguf");
  const twice = join(sandbox.path, "twice.profile.gguf");
  const command = sandbox.thermocline(...args(twice));
  await sandbox.untilThere("cpu-executor");
  await delay(AT_WORK_MS);
  command.kill("SIGINT");
  const { code, stdout } = await inTime(command.ended, "the end");
  expect(code).toBe(130);
  const before = Number(/^\d+ tokens \((\d+) read now/.exec(stdout)?.[1] ?? 0);
  expect(existsSync(twice)).toBe(before > 0);
  const rest = JSON.parse((await sandbox.run(...args(twice), "--json")).stdout) as Record<string, number>;
  expect(rest.tokensRead).toBe((rest.tokens ?? 0) - before);
  expect(await sandbox.run(...args(once))).toMatchObject({ code: 0 });
  expect(readFileSync(twice)).toEqual(readFileSync(once));
  expect(sandbox.leftovers()).toEqual(["file long.txt", "file once.profile.gguf", "file twice.profile.gguf"]);
});

describe("serve --live-profile", () => {
  test("adds what requests make neurons do to the file, at the server's end at the latest", async () => {
    const out = join(sandbox.path, "live.profile.gguf");
    const server = await sandbox.serve("--live-profile", out, "--gpu", "host");
    const request = ["generate", "--server", server.address, "--prompt", "Once upon a time"];
    expect(await sandbox.run(...request, "--max-tokens", "200")).toMatchObject({ code: 0 });
    expect(existsSync(out)).toBe(false);
    server.command.kill("SIGTERM");
    expect(await inTime(server.command.ended, "the end")).toMatchObject({ code: 0 });
    const { stdout } = await sandbox.run("profile", "--out", out, "--json");
    const report = JSON.parse(stdout) as { tokens: number; firing: number; sources: unknown[] };
    expect(report.sources).toMatchObject([{ name: "live traffic", digest: "", windows: 0 }]);
    // Of 200 steps at least 3, and of one the prompt's tokens.
    expect(report.tokens).toBeGreaterThanOrEqual(3);
    expect(report.tokens).toBeLessThan(16);
    expect(report.firing).toBeGreaterThan(0.02);
    expect(report.firing).toBeLessThan(0.5);
  });

  test("refuses a model whose neurons all fire", async () => {
    const { code, stderr } = await sandbox.run(
      "serve",
      "--live-profile",
      "--activation",
      "silu",
      "--gpu",
      "off",
    );
    expect(stderr).toMatch(/^thermocline: .*its activation is silu, under which every neuron fires/m);
    expect(code).toBe(1);
  });
});

describe("what cannot be done is said in one sentence, with exit code 1", () => {
  test.each<[string[], RegExp]>([
    [["--out", "none.gguf"], /none\.gguf: there is no profile yet; give texts to make one of with --text\n$/],
    [["--text", "none.txt"], /none\.txt: there is no such file; check the path\n$/],
    [["--fresh"], /^thermocline: --fresh begins a profile anew; give texts to do so with --text\n$/],
    [["--plot", "a.pdf"], /^thermocline: --plot is "a\.pdf"; give a file that ends in \.svg or \.png/],
    [["--tokens", "0"], /^thermocline: --tokens is "0"; give a whole number from 1 to \d+\n$/],
  ])("%j", async (args, message) => {
    const { code, stdout, stderr } = await sandbox.run("profile", ...args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe("");
    expect(code).toBe(1);
  });
});
