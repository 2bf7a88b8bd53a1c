/** `thermocline generate` with a stack of its own. */

import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import { splitPlacement } from "../support/split-placement.js";
import { END_MS, type Role, Sandbox, whereCudaIsUnbuilt } from "./support/sandbox.js";

const PROMPT = "Once upon a time";

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

describe("a story", () => {
  test("streams to stdout, with the layers' table and a summary on stderr, and leaves nothing behind", async () => {
    const placement = join(sandbox.path, "placement.json");
    const split = splitPlacement(placement, await loadModel(bundledModelPath(), {}));
    const command = sandbox.thermocline(
      ...["generate", "--prompt", PROMPT, "--max-tokens", "40", "--layers", ...split],
    );
    const seen: string[] = [];
    command.child.stdout?.on("data", (text: string) => seen.push(text));
    const { code, stdout, stderr } = await command.ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Once upon a time, there was .*\n$/s);
    expect(seen.length).toBeGreaterThan(3);
    expect(stderr).toMatch(/^layer +attention +predict +hot +cold +wait +merge +total +share/m);
    const layers = [...stderr.matchAll(/^ *(\d+)( +[\d.]+){7} +\d+ % +\d+ of (\d+) +\d+ of (\d+)$/gm)];
    expect(layers.map(([, layer]) => Number(layer))).toEqual([0, 1, 2, 3, 4]);
    for (const [, , , hot, cold] of layers) {
      expect(Number(hot)).toBeGreaterThan(0);
      expect(Number(hot) + Number(cold)).toBe(768);
    }
    expect(stderr).toMatch(
      /^5 prompt \+ 40 generated tokens, first after .* tokens\/s, seed \d+, --max-tokens were/m,
    );
    expect(sandbox.leftovers()).toEqual(["file placement.json"]);
  });

  test("as JSON is one message a line", async () => {
    const { code, stdout, stderr } = await sandbox.run(
      ...["generate", "--prompt", PROMPT, "--max-tokens", "8", "--gpu", "off", "--json"],
    );
    expect(stderr).toBe("");
    expect(code).toBe(0);
    const lines = stdout
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(lines).toHaveLength(9);
    for (const line of lines.slice(0, -1))
      expect(line).toEqual({ token: { id: expect.any(Number), text: expect.any(String) } });
    expect(lines.at(-1)).toMatchObject({
      summary: {
        finishReason: "FINISH_REASON_MAX_TOKENS",
        promptTokens: 5,
        generatedTokens: 8,
        seed: expect.stringMatching(/^\d+$/),
      },
    });
  });
});

describe("an end before the end", () => {
  /** Starts a story that goes on for seconds, and waits for its first words. */
  async function tellLongStory(): Promise<ReturnType<Sandbox["thermocline"]>> {
    const command = sandbox.thermocline("generate", "--prompt", PROMPT, "--gpu", "host");
    await command.until(({ stdout }) => stdout.length > PROMPT.length, "the first words");
    expect(
      sandbox
        .processes()
        .map(({ role }) => role)
        .sort(),
    ).toEqual(["client", "coordinator", "cpu-executor", "gpu-executor"]);
    return command;
  }

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s keeps what was told, says nothing more, and exits with %d", async (signal, exitCode) => {
    const command = await tellLongStory();
    const startMs = performance.now();
    command.kill(signal);
    const { code, stdout, stderr } = await command.ended;
    expect(performance.now() - startMs).toBeLessThan(END_MS);
    expect(code).toBe(exitCode);
    expect(stdout).toMatch(/^Once upon a time.*\n$/s);
    expect(stderr).toBe("");
    expect(sandbox.leftovers()).toEqual([]);
  });

  test("SIGINT twice at once, as npm and the terminal send it, ends it no less orderly", async () => {
    const command = await tellLongStory();
    command.kill("SIGINT");
    command.kill("SIGINT");
    expect((await command.ended).code).toBe(130);
    expect(sandbox.leftovers()).toEqual([]);
  });

  test("SIGINT while the stack starts", async () => {
    const command = sandbox.thermocline("generate", "--prompt", PROMPT, "--gpu", "host");
    await sandbox.untilThere("coordinator");
    command.kill("SIGINT");
    expect(await command.ended).toMatchObject({ code: 130, stdout: "", stderr: "" });
    expect(sandbox.leftovers()).toEqual([]);
  });

  test("SIGKILL of the client takes everything along", async () => {
    const command = await tellLongStory();
    command.kill("SIGKILL");
    await sandbox.untilClean(END_MS);
  });

  test.each<[Role, RegExp]>([
    ["coordinator", /^thermocline: the server of this call was killed by SIGKILL\n$/m],
    ["gpu-executor", /^thermocline: the GPU executor \(pid \d+\) was killed by SIGKILL; .*try again.*\n$/m],
    ["cpu-executor", /^thermocline: the CPU executor \(pid \d+\) was killed by SIGKILL; .*try again.*\n$/m],
  ])("SIGKILL of the %s is told in one sentence, and nothing is left behind", async (role, message) => {
    const command = await tellLongStory();
    process.kill(sandbox.pidOf(role), "SIGKILL");
    const { code, stderr } = await command.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    await sandbox.untilClean(END_MS);
  });

  test("a reader that leaves ends it without a complaint", async () => {
    const command = await tellLongStory();
    command.child.stdout?.destroy();
    expect(await command.ended).toMatchObject({ code: 0, stderr: "" });
    expect(sandbox.leftovers()).toEqual([]);
  });
});

describe("what cannot be done is said in one sentence, with exit code 1", () => {
  test.each<[string[], RegExp]>([
    [["--frobnicate"], /^error: unknown option '--frobnicate'\n\(--help shows the options\)\n$/],
    [["--temperature", "hot"], /^thermocline: --temperature is "hot"; give a number from 0 to 100\n$/],
    [["--server", "127.0.0.1:1"], /^thermocline: no server answers at 127\.0\.0\.1:1; start one .*\n$/],
    [["--model", "none.gguf"], /^thermocline: .*none\.gguf: there is no such file; check the path\n$/],
    [
      ["--predictor", "on"],
      /^thermocline: --predictor is on, and .*\.gguf has no predictor .*; give auto or off, .*\n$/,
    ],
    ...whereCudaIsUnbuilt<[string[], RegExp]>([
      ["--gpu", "cuda"],
      /^thermocline: --gpu cuda: this build has no CUDA device.*use --gpu off.*\n$/,
    ]),
    [
      ["--ctx", "513"],
      /^thermocline: --ctx is 513, and .* was trained on 512 positions; give at most that\n$/,
    ],
  ])("generate %j", async (args, message) => {
    const { code, stdout, stderr } = await sandbox.run("generate", "--prompt", "a", ...args);
    expect(stderr).toMatch(message);
    expect(stdout).toBe("");
    expect(code).toBe(1);
    expect(sandbox.leftovers()).toEqual([]);
  });
});
