/**
 * What the peer uses of node-llama-cpp. Declared here and loaded by name, because the benchmarks are compiled where
 * development packages are missing as well; a test holds these declarations against the package's own.
 */
import { ThermoclineError } from "../proto/errors.js";

export type LlamaToken = number & { __token: never };

export interface LlamaCpp {
  readonly systemInfo: string;
  readonly llamaCppRelease: { readonly repo: string; readonly release: string };
  readonly buildType: "localBuild" | "prebuilt";
  loadModel(options: { modelPath: string; gpuLayers: number }): Promise<LlamaCppModel>;
}

export interface LlamaCppModel {
  readonly useMmap: boolean;
  createContext(options: {
    contextSize: number;
    batchSize: number;
    sequences: number;
    threads: { ideal: number; min: number };
    performanceTracking: true;
  }): Promise<LlamaCppContext>;
}

export interface LlamaCppContext {
  readonly currentThreads: number;
  /** "auto" leaves it to llama.cpp. */
  readonly flashAttention: boolean | string;
  getSequence(): LlamaCppSequence;
  /** Logs what was evaluated since the last time. */
  printTimings(): Promise<void>;
}

/** A token, or one after which the likeliest next one is wanted. */
export type EvaluatedToken =
  | LlamaToken
  | [LlamaToken, { generateNext: { token: true; options: { temperature: 0 } } }];

export interface LlamaCppSequence {
  clearHistory(): Promise<void>;
  controlledEvaluate(
    input: EvaluatedToken[],
  ): Promise<(undefined | { next: { token?: LlamaToken | null } })[]>;
}

/** @typeParam Level the package's own enumeration */
export interface NodeLlamaCpp<Level = string> {
  readonly LlamaLogLevel: { readonly info: Level };
  getLlama(options: {
    gpu: false;
    build: "never";
    skipDownload: true;
    progressLogs: false;
    maxThreads: number;
    logLevel: Level;
    logger: (level: Level, message: string) => void;
  }): Promise<LlamaCpp>;
}

/** Not a literal, so that the compiler does not look for it. */
const PACKAGE: string = "node-llama-cpp";

/** @throws ThermoclineError FAILED_PRECONDITION where the package is not installed */
export async function loadNodeLlamaCpp(): Promise<NodeLlamaCpp> {
  try {
    return (await import(PACKAGE)) as NodeLlamaCpp;
  } catch (error) {
    throw new ThermoclineError("FAILED_PRECONDITION", `${PACKAGE} is not there: run npm install`, {
      cause: error,
    });
  }
}
