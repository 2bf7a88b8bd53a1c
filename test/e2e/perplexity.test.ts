/** `thermocline perplexity` as a person calls it. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { END_MS, inTime, Sandbox, whereCudaIsUnbuilt } from "./support/sandbox.js";

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

/** @returns the path of a text of so many sentences */
function textOf(sentences: number): string {
  const path = join(sandbox.path, "text.txt");
  const animals = ["cat", "dog", "frog", "bird", "fish", "bear"];
  const sentence = (number: number) =>
    `The ${animals[number % 6]} saw ${number} red balls and gave one to the ${animals[(number * number) % 5]}.`;
  writeFileSync(path, Array.from({ length: sentences }, (_, number) => sentence(number)).join("\n"));
  return path;
}

/** On a busy machine something takes more than two seconds, and then says what it is at. */
function withoutProgress(stderr: string): string {
  return stderr.replace(/^(?:tokenizing|loading|\d+ of \d+ windows).*\n/gm, "");
}

test("prints perplexity, tokens, speed and active neurons, the same on every device, and leaves nothing behind", async () => {
  const text = textOf(60);
  const args = ["perplexity", "--text", text, "--ctx", "64", "--chunks", "3", "--threads", "2"];
  const plain = await sandbox.run(...args, "--gpu", "off");
  expect({ code: plain.code, stderr: withoutProgress(plain.stderr) }).toEqual({ code: 0, stderr: "" });
  expect(plain.stdout).toMatch(
    /^PPL = [\d.]+ \+\/- [\d.]+\n93 tokens scored: .* of 64, 3 of 3 windows\n[\d.]+ tokens\/s, [\d.]+ % of the neurons active\n$/,
  );
  const { code, stdout, stderr } = await sandbox.run(...args, "--gpu", "host", "--json");
  expect({ code, stderr: withoutProgress(stderr) }).toEqual({ code: 0, stderr: "" });
  const report = JSON.parse(stdout) as Record<string, number>;
  expect(report).toMatchObject({ windows: 3, windowsDone: 3, tokensScored: 93, tokensRead: 189 });
  expect(plain.stdout).toContain(
    `PPL = ${report.perplexity?.toFixed(4)} +/- ${report.standardError?.toFixed(5)}\n`,
  );
  expect(plain.stdout).toContain(`${(100 * (report.activeShare ?? 0)).toFixed(2)} % of the neurons`);
  expect(sandbox.leftovers()).toEqual(["file text.txt"]);
});

describe("interrupted", () => {
  test("it prints what it had, and leaves nothing behind", async () => {
    const text = textOf(6000);
    const command = sandbox.thermocline(
      "perplexity",
      "--text",
      text,
      "--ctx",
      "32",
      "--gpu",
      "host",
      "--json",
    );
    await command.until(({ stderr }) => /\d windows .*PPL/.test(stderr), "a line of progress");
    expect(command.stderr).toMatch(/^[1-9]\d* of \d+ windows \(\d+ %\), PPL [\d.]+, [\d:]+ left$/m);
    const startMs = performance.now();
    command.kill("SIGINT");
    const { code, stdout } = await inTime(command.ended, "the end");
    expect(performance.now() - startMs).toBeLessThan(END_MS);
    expect(code).toBe(130);
    const report = JSON.parse(stdout) as Record<string, number>;
    expect(report.windowsDone).toBeGreaterThan(0);
    expect(report.windowsDone).toBeLessThan(report.windows ?? 0);
    expect(report.tokensScored).toBe(15 * (report.windowsDone ?? 0));
    expect(sandbox.leftovers()).toEqual(["file text.txt"]);
  });

  test("before it had anything, it says nothing", async () => {
    const command = sandbox.thermocline("perplexity", "--text", textOf(200), "--gpu", "host");
    await sandbox.untilThere("gpu-executor");
    command.kill("SIGINT");
    expect(await inTime(command.ended, "the end")).toMatchObject({
      code: 130,
      stdout: "",
      // Progress is told after two seconds.
      stderr: expect.stringMatching(/^(tokenizing \d+ characters\n)?$/),
    });
    expect(sandbox.leftovers()).toEqual(["file text.txt"]);
  });
});

test("SIGKILL takes everything along", async () => {
  const command = sandbox.thermocline("perplexity", "--text", textOf(2000), "--gpu", "host");
  await sandbox.untilThere("cpu-executor");
  command.kill("SIGKILL");
  await command.ended;
  await expect.poll(() => sandbox.processes(), { timeout: END_MS }).toEqual([]);
});

describe("what cannot be done is said in one sentence, with exit code 1", () => {
  test.each<[string[], RegExp]>([
    [["--text", "none.txt"], /^thermocline: .*none\.txt: there is no such file; check the path\n$/],
    [
      ["--ctx", "513"],
      /^thermocline: --ctx is 513, and .* was trained on 512 positions; give at most that\n$/,
    ],
    [
      [],
      /^thermocline: .*text\.txt: has \d+ tokens, and a window takes 512; give a longer text or a smaller --ctx\n$/,
    ],
    [
      ["--predictor", "on"],
      /^thermocline: --predictor is on, and .* has no predictor .*; give auto or off, or .*\n$/,
    ],
    ...whereCudaIsUnbuilt<[string[], RegExp]>([
      ["--gpu", "cuda", "--ctx", "8"],
      /^thermocline: --gpu cuda: this build has no CUDA device.*use --gpu off.*\n$/,
    ]),
  ])("%j", async (args, message) => {
    const text = args.includes("--text") ? [] : ["--text", textOf(2)];
    const { code, stdout, stderr } = await sandbox.run("perplexity", ...text, ...args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe("");
    expect(code).toBe(1);
  });
});
