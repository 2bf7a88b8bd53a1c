import { expect, test } from "vitest";
import { type BenchOptions, benchCommand, isOnCard, repeatingCommand } from "../../bench/options.js";
import { contendingDevices, stackOptions } from "../../bench/stack-under-test.js";

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
  [["decode", "--gpu", "off,cuda", "--vram-budget", "8GiB"]],
  [["decode", "--gpu", "cuda", "--vram-budget", "8GiB", "--peer", "llama.cpp", "--peer-gpu-layers", "7"]],
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

test("devices are a list, each once, of which one is compared with a peer", async () => {
  expect((await parse(["decode", "--gpu", "host,off"])).options.gpu).toEqual(["host", "off"]);
  expect((await parse(["decode"])).options.gpu).toBeNull();
  for (const text of ["auto", "cuda,cuda", "off,", "gpu"]) {
    await expect(parse(["decode", "--gpu", text])).rejects.toThrow(`--gpu is "${text}"; give each once`);
  }
  const beside = ["decode", "--peer", "llama.cpp", "--gpu"];
  expect((await parse([...beside, "host"])).options.gpu).toEqual(["host"]);
  await expect(parse([...beside, "off,cuda"])).rejects.toThrow("give --gpu one of them");
});

test("beside a peer a card's budget is for each, and only there the peer has layers on it", async () => {
  const beside = ["decode", "--peer", "llama.cpp", "--gpu"];
  await expect(parse([...beside, "cuda"])).rejects.toThrow("give --vram-budget, at most half");
  const onCard = [...beside, "cuda", "--vram-budget", "8GiB"];
  const { options } = await parse([...onCard, "--peer-gpu-layers", "20"]);
  expect(options).toMatchObject({ gpu: ["cuda"], vramBudget: 8 * 1024 ** 3, peerGpuLayers: 20 });
  expect(isOnCard(options)).toBe(true);
  expect(isOnCard((await parse(["decode", "--peer", "llama.cpp"])).options)).toBe(false);
  for (const args of [
    ["decode", "--gpu", "cuda"],
    [...beside, "host"],
    ["decode", "--peer", "llama.cpp"],
  ]) {
    await expect(parse([...args, "--peer-gpu-layers", "20"])).rejects.toThrow(
      "--peer-gpu-layers is 20 and nothing of the peer runs on a card",
    );
  }
  await expect(parse([...onCard, "--peer-gpu-layers", "-1"])).rejects.toThrow("--peer-gpu-layers");
});

test("a budget for no card is none", () => {
  const options = { modelPath: "a.gguf", predictor: "auto", threads: 1, vramBudgetBytes: 5 } as const;
  expect(stackOptions(options, "cuda").vramBudgetBytes).toBe(5);
  expect(stackOptions(options, "off").vramBudgetBytes).toBeNull();
});

test("devices are those asked for, and by default the simulated card is not set beside a peer", () => {
  expect(contendingDevices({ devices: null, peer: null })).toEqual(["off", "host"]);
  expect(contendingDevices({ devices: null, peer: {} })).toEqual(["off"]);
  expect(contendingDevices({ devices: ["cuda"], peer: {} })).toEqual(["cuda"]);
});
