/**
 * llama.cpp by way of node-llama-cpp's prebuilt CPU binary, as a peer to be measured; a program of its own. It is set
 * up as it comes, with the file mapped and flash attention where llama.cpp wants it, and takes as many threads as it is
 * told. Its clock runs around the evaluation itself: no chat, no text, no history left from the request before.
 */
import { readFileSync } from "node:fs";
import { endWithOwner, tellOwner } from "./companion.js";
import {
  type EvaluatedToken,
  type LlamaCppContext,
  type LlamaCppSequence,
  type LlamaToken,
  loadNodeLlamaCpp,
} from "./llama-cpp-api.js";
import { ownRates } from "./llama-cpp-timings.js";
import type { Generated, GenerateRequest, Loaded, LoadRequest, PeerRequest } from "./peer-protocol.js";

/** Prompt tokens that llama.cpp computes at once: its own default. */
const BATCH = 512;
/** Last lines of llama.cpp's log that explain a failure. */
const SHOWN_LINES = 3;

let opened: { context: LlamaCppContext; sequence: LlamaCppSequence } | null = null;
const complaints: string[] = [];
let timings = "";

endWithOwner();
process.on("message", (request: PeerRequest) => void answer(request));

async function answer(request: PeerRequest): Promise<void> {
  try {
    tellOwner(request.kind === "load" ? await load(request) : await generate(request));
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    tellOwner({ kind: "failed", message: [words, ...complaints].join("; ") });
  }
}

async function load({ modelPath, threads, contextLength }: LoadRequest): Promise<Loaded> {
  const start = performance.now();
  const { getLlama, LlamaLogLevel } = await loadNodeLlamaCpp();
  const llama = await getLlama({
    gpu: false,
    build: "never",
    skipDownload: true,
    progressLogs: false,
    maxThreads: threads,
    // Its timings come as information.
    logLevel: LlamaLogLevel.info,
    logger: takeLog,
  });
  const libraryMs = performance.now() - start;
  const model = await llama.loadModel({ modelPath, gpuLayers: 0 });
  const context = await model.createContext({
    contextSize: contextLength,
    batchSize: Math.min(BATCH, contextLength),
    sequences: 1,
    threads: { ideal: threads, min: threads },
    performanceTracking: true,
  });
  opened = { context, sequence: context.getSequence() };
  const parts = [
    `${llama.buildType} ${llama.llamaCppRelease.repo} ${llama.llamaCppRelease.release}`,
    backend(),
    `mmap ${model.useMmap ? "on" : "off"}`,
    `flash attention ${context.flashAttention}`,
    llama.systemInfo.trim(),
  ];
  return { kind: "loaded", description: parts.join(", "), libraryMs };
}

function takeLog(level: string, message: string): void {
  if (message.includes("eval time =")) timings += `${message}\n`;
  if (level !== "error" && level !== "fatal") return;
  complaints.push(message.trim());
  complaints.splice(0, complaints.length - SHOWN_LINES);
}

/** The library with the kernels that llama.cpp chose for this CPU. */
function backend(): string {
  return /libggml-cpu-\w+/.exec(readFileSync("/proc/self/maps", "utf8"))?.[0] ?? "no CPU library of its own";
}

async function generate({ prompt, tokens }: GenerateRequest): Promise<Generated> {
  if (opened === null) throw new Error("no model is loaded");
  const { context, sequence } = opened;
  await sequence.clearHistory();
  const all: number[] = [];
  const start = performance.now();
  let firstAt = start;
  let input = prompt.map((token, index) =>
    index === prompt.length - 1 ? askingForNext(token as LlamaToken) : (token as LlamaToken),
  );
  while (all.length < tokens) {
    const next = (await sequence.controlledEvaluate(input)).at(-1)?.next.token;
    if (next === undefined || next === null) throw new Error("llama.cpp gave no next token");
    if (all.push(next) === 1) firstAt = performance.now();
    input = [askingForNext(next)];
  }
  const decodeMs = performance.now() - firstAt;
  timings = "";
  await context.printTimings();
  return {
    kind: "generated",
    tokens: all,
    prefillMs: firstAt - start,
    decodeMs,
    own: ownRates(timings),
    threads: context.currentThreads,
  };
}

function askingForNext(token: LlamaToken): EvaluatedToken {
  return [token, { generateNext: { token: true, options: { temperature: 0 } } }];
}
