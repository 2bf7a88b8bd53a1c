/** The benchmarks' peer is llama.cpp, and computes what llama.cpp computes. */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import type { GgufFileInfo, Llama, LlamaLogLevel } from "node-llama-cpp";
import { beforeAll, expect, test } from "vitest";
import { z } from "zod";
import type { NodeLlamaCpp } from "../../bench/llama-cpp-api.js";
import { surveyCard } from "../../bench/llama-cpp-survey.js";
import { Peer } from "../../bench/peer.js";
import type { Model } from "../../coordinator/model/model.js";
import { bytesOf, WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
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

function declaredLibrary(): Promise<NodeLlamaCpp<LlamaLogLevel, GgufFileInfo, Llama>> {
  return import("node-llama-cpp");
}

test("what is declared of node-llama-cpp is what it has", async () => {
  expect((await declaredLibrary()).getLlama).toBeTypeOf("function");
});

test("llama.cpp's own estimates say how many layers a card's memory would hold", async () => {
  const library = await declaredLibrary();
  const llama = await openLlamaCpp();
  try {
    const request = { kind: "survey", modelPath: model.path, threads: 1, contextLength: 256 } as const;
    const survey = (budgetBytes: number) => surveyCard(library, llama, { ...request, budgetBytes });
    const { totalLayers, layerBytes, estimatedLayers } = await survey(0);
    // The output is one as well.
    expect([totalLayers, estimatedLayers]).toEqual([model.shape.layers + 1, 0]);
    const weights = model.tensors
      .filter(({ name }) => name.startsWith("blk."))
      .reduce((sum, { type, rows, cols }) => sum + bytesOf(WEIGHT_TYPES[type], rows * cols), 0);
    expect(layerBytes * model.shape.layers).toBeGreaterThanOrEqual(weights);
    expect((await survey(1e9)).estimatedLayers).toBe(totalLayers);
    const some = await survey(2 * layerBytes);
    expect(some.estimatedLayers).toBeGreaterThan(0);
    expect(some.estimatedLayers).toBeLessThan(totalLayers);
  } finally {
    await llama.dispose();
  }
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
    expect([peer.gpu, peer.peakVramBytes, await peer.release()]).toEqual([null, 0, 0]);
    await expect(peer.generate(PROMPT, TOKENS)).rejects.toThrow("no model is loaded");
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
