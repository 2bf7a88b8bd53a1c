/**
 * llama.cpp by way of node-llama-cpp's prebuilt binary, for the CPU or for CUDA, as a peer to be measured; a program of
 * its own. It is set up as it comes, with the file mapped and flash attention where llama.cpp wants it, and takes as many
 * threads as it is told. Its clock runs around the evaluation itself: no chat, no text, no history left from the request before.
 */
import { readFileSync } from "node:fs";
import { endWithOwner, tellOwner } from "./companion.js";
import {
  type EvaluatedToken,
  type LlamaCpp,
  type LlamaCppContext,
  type LlamaCppModel,
  type LlamaCppSequence,
  type LlamaToken,
  loadNodeLlamaCpp,
  type NodeLlamaCpp,
} from "./llama-cpp-api.js";
import { onlyFirstCard } from "./llama-cpp-cuda.js";
import { batchFor, surveyCard } from "./llama-cpp-survey.js";
import { ownRates } from "./llama-cpp-timings.js";
import type {
  Full,
  Generated,
  GenerateRequest,
  Loaded,
  LoadRequest,
  PeerReply,
  PeerRequest,
  Released,
  Surveyed,
  SurveyRequest,
} from "./peer-protocol.js";

/** Last lines of llama.cpp's log that explain a failure. */
const SHOWN_LINES = 3;

interface Opened {
  llama: LlamaCpp;
  model: LlamaCppModel;
  context: LlamaCppContext;
  sequence: LlamaCppSequence;
  /** The card's memory in use before the model was loaded; null on the CPU. */
  vramBefore: number | null;
}

let opened: Opened | null = null;
const complaints: string[] = [];
let timings = "";

endWithOwner();
process.on("message", (request: PeerRequest) => void answer(request));

async function answer(request: PeerRequest): Promise<void> {
  try {
    tellOwner(await replyTo(request));
  } catch (error) {
    const words = error instanceof Error ? error.message : String(error);
    tellOwner({ kind: "failed", message: [words, ...complaints].join("; ") });
  }
}

function replyTo(request: PeerRequest): Promise<PeerReply> {
  switch (request.kind) {
    case "survey":
      return survey(request);
    case "load":
      return load(request);
    case "generate":
      return generate(request);
    case "release":
      return release();
  }
}

async function openLibrary(library: NodeLlamaCpp, gpu: false | "cuda", threads: number): Promise<LlamaCpp> {
  if (gpu !== false) onlyFirstCard();
  const options = {
    ...({ gpu, build: "never", skipDownload: true, progressLogs: false } as const),
    maxThreads: threads,
    // Whoever sets a budget leaves free what is to be left free.
    vramPadding: 0,
    // Its timings come as information.
    logLevel: library.LlamaLogLevel.info,
    logger: takeLog,
  };
  const llama = await library.getLlama(options).catch((error: unknown) => {
    throw gpu === false
      ? error
      : new Error(
          `its CUDA build does not start (${String(error)}): the driver must know CUDA 13, or CUDA 12 where its libraries are that one's`,
        );
  });
  if (llama.gpu !== gpu) throw new Error(`it computes on ${llama.gpu || "the CPU"} and not on ${gpu}`);
  return llama;
}

async function survey(request: SurveyRequest): Promise<Surveyed> {
  const library = await loadNodeLlamaCpp();
  return surveyCard(library, await openLibrary(library, "cuda", request.threads), request);
}

async function load(request: LoadRequest): Promise<Loaded | Full> {
  const { threads, gpuLayers } = request;
  const start = performance.now();
  const library = await loadNodeLlamaCpp();
  const llama = await openLibrary(library, gpuLayers === null ? false : "cuda", threads);
  const libraryMs = performance.now() - start;
  try {
    opened = await openModel(llama, request);
  } catch (error) {
    if (gpuLayers === null || !isFull(error, library)) throw error;
    return { kind: "full", message: [String(error), ...complaints].join("; ") };
  }
  const { model, context } = opened;
  const { totalLayers } = model.fileInsights;
  const parts = [
    `${llama.buildType} ${llama.llamaCppRelease.repo} ${llama.llamaCppRelease.release}`,
    ...(gpuLayers === null ? [] : [`CUDA on ${(await llama.getGpuDeviceNames()).join(" and ")}`]),
    backend(),
    ...(gpuLayers === null ? [] : [`${model.gpuLayers} of ${totalLayers} layers on the card`]),
    `mmap ${model.useMmap ? "on" : "off"}`,
    `flash attention ${context.flashAttention}`,
    llama.systemInfo.trim(),
  ];
  const gpu = gpuLayers === null ? null : { layers: model.gpuLayers, totalLayers };
  return { kind: "loaded", description: parts.join(", "), libraryMs, gpu };
}

async function openModel(
  llama: LlamaCpp,
  { modelPath, threads, contextLength, gpuLayers }: LoadRequest,
): Promise<Opened> {
  // The question itself makes the driver's context, if nothing has yet.
  const vramBefore = gpuLayers === null ? null : (await llama.getVramState()).used;
  const model = await llama.loadModel({ modelPath, gpuLayers: gpuLayers ?? 0 });
  const context = await model.createContext({
    contextSize: contextLength,
    batchSize: batchFor(contextLength),
    sequences: 1,
    threads: { ideal: threads, min: threads },
    performanceTracking: true,
  });
  return { llama, model, context, sequence: context.getSequence(), vramBefore };
}

/** Whether it failed for the card's memory: by node-llama-cpp's estimate, or by what CUDA said. */
function isFull(error: unknown, { InsufficientMemoryError }: NodeLlamaCpp): boolean {
  if (error instanceof InsufficientMemoryError) return true;
  return complaints.some((line) => /out of memory|failed to allocate|unable to allocate/i.test(line));
}

/** Memory of the card taken since before the model was loaded; null on the CPU. */
async function vramSince({ llama, vramBefore }: Opened): Promise<number | null> {
  return vramBefore === null ? null : Math.max(0, (await llama.getVramState()).used - vramBefore);
}

async function release(): Promise<Released> {
  if (opened === null) throw new Error("no model is loaded");
  const { model, context } = opened;
  await context.dispose();
  await model.dispose();
  const keptBytes = (await vramSince(opened)) ?? 0;
  opened = null;
  return { kind: "released", keptBytes };
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
    vramBytes: await vramSince(opened),
  };
}

function askingForNext(token: LlamaToken): EvaluatedToken {
  return [token, { generateNext: { token: true, options: { temperature: 0 } } }];
}
