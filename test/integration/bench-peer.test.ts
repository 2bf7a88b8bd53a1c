/** The benchmarks' peer is llama.cpp, and computes what llama.cpp computes. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { GgufFileInfo, Llama, LlamaLogLevel } from "node-llama-cpp";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { NodeLlamaCpp } from "../../bench/llama-cpp-api.js";
import { Peer } from "../../bench/peer.js";
import type { Model } from "../../coordinator/model/model.js";
import { DIST } from "../support/executor-processes.js";
import { LlamaCppSequence, openLlamaCpp } from "../support/llama-cpp.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const PROMPT = [3, 14, 15, 9, 26];
const TOKENS = 3;
const report = z.object({
  remarks: z.array(z.string()),
  sections: z.array(
    z.object({ command: z.string(), figures: z.array(z.object({ name: z.string(), value: z.number() })) }),
  ),
});

let model: Model;
beforeAll(async () => {
  const path = join(folder, "silu.gguf");
  const options = { activation: "silu", downTransposed: false, contextLength: 256 } as const;
  model = await writeTinyModel(path, options);
});

test("what is declared of node-llama-cpp is what it has", async () => {
  const declared: NodeLlamaCpp<LlamaLogLevel, GgufFileInfo, Llama> = await import("node-llama-cpp");
  expect(declared.getLlama).toBeTypeOf("function");
});

test("goes on as llama.cpp does, and remembers nothing of the request before", async () => {
  const llama = await openLlamaCpp();
  const sequence = await LlamaCppSequence.load(llama, model);
  const expected = await sequence.greedy(PROMPT, TOKENS);
  await sequence.close();
  await llama.dispose();
  const { signal } = new AbortController();
  const peer = await Peer.open({
    ...{ modelPath: model.path, threads: 2, contextLength: 64, signal, gpuLayers: null },
    entry: join(DIST, "bench/llama-cpp-process.js"),
  });
  try {
    expect(peer.description).toMatch(/^prebuilt ggml-org\/llama\.cpp .*libggml-cpu-/);
    for (let request = 0; request < 2; request++) {
      const { tokens, own, decodeTokensPerS } = await peer.generate(PROMPT, TOKENS);
      expect(tokens).toEqual(expected);
      // Its own clock stands still while Node is at work.
      expect(own.decodeTokensPerS).toBeGreaterThan(decodeTokensPerS);
      expect(own.prefillTokensPerS).toBeGreaterThan(0);
    }
  } finally {
    await peer.close();
  }
});

test("npm run bench measures both, turn by turn", async () => {
  const args = ["decode", "--model", model.path, "--peer", "llama.cpp", "--runs", "1", "--tokens", "3"];
  const main = join(DIST, "bench/main.js");
  const { stdout } = await promisify(execFile)(process.execPath, [main, ...args, "--json"]);
  const { remarks, sections } = report.parse(JSON.parse(stdout));
  expect(remarks).toEqual([expect.stringMatching(/^llama\.cpp: .* threads, .*silu\.gguf$/)]);
  const figures = new Map(sections[0]?.figures.map(({ name, value }) => [name, value]));
  const [ours, theirs] = [figures.get("decoding, --gpu off"), figures.get("decoding, llama.cpp")];
  expect(figures.get("decoding, ours over llama.cpp's")).toBeCloseTo((ours ?? 0) / (theirs ?? 0));
});
