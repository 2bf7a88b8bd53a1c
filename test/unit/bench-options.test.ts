import { expect, test } from "vitest";
import { type BenchOptions, benchCommand, repeatingCommand } from "../../bench/options.js";

const NAMES = ["decode", "prefill"];

async function parse(args: readonly string[]): Promise<{ benchmark: string; options: BenchOptions }> {
  let parsed: { benchmark: string; options: BenchOptions } | null = null;
  const command = benchCommand(NAMES, (benchmark, options) => {
    parsed = { benchmark, options };
    return Promise.resolve();
  });
  await command.parseAsync([...args], { from: "user" });
  return parsed ?? Promise.reject(new Error("the command did not run"));
}

test.each([
  [[]],
  [["decode", "--runs", "5", "--tokens", "32", "--model", "a b.gguf", "--peer", "llama.cpp"]],
  [
    [
      "prefill",
      "--prompt-tokens",
      "128,512",
      "--threads",
      "1",
      "--predictor",
      "-2.6",
      "--peer-model",
      "it's.gguf",
    ],
  ],
])("the command printed for %j gives the same options again", async (args) => {
  const { benchmark, options } = await parse(args);
  const printed = repeatingCommand(benchmark, options);
  const [, again = ""] = printed.split("npm run bench -- ");
  // A shell's words, of which these have quotes around whole words alone.
  const words = [...again.replaceAll("'\\''", "\0").matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, plain]) =>
    (quoted ?? plain ?? "").replaceAll("\0", "'"),
  );
  expect(await parse(words)).toEqual({ benchmark, options });
});

test("lengths of prompts are numbers", async () => {
  expect((await parse(["prefill", "--prompt-tokens", "128,512"])).options.promptTokens).toEqual([128, 512]);
  await expect(parse(["prefill", "--prompt-tokens", "128,"])).rejects.toThrow('--prompt-tokens is ""');
});
