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
  /** What it computes on; false is the CPU. */
  readonly gpu: string | false;
  /** Of all cards that it sees, in bytes, whoever uses them. */
  getVramState(): Promise<{ total: number; used: number; free: number }>;
  getGpuDeviceNames(): Promise<string[]>;
  loadModel(options: { modelPath: string; gpuLayers: number }): Promise<LlamaCppModel>;
}

export interface LlamaCppModel {
  readonly useMmap: boolean;
  readonly gpuLayers: number;
  readonly fileInsights: {
    /** What `gpuLayers` can be at the most: the layers, and one more for the output. */
    readonly totalLayers: number;
  };
  dispose(): Promise<void>;
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
  dispose(): Promise<void>;
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

/** What is known of a model's file before it is loaded; sizes in bytes. */
export interface GgufInsights {
  readonly totalLayers: number;
  estimateModelResourceRequirementsV2(options: { gpuLayers: number }): Promise<{ gpuVram: number }>;
  estimateContextResourceRequirementsV2(options: {
    contextSize: number;
    modelGpuLayers: number;
    batchSize: number;
    sequences: number;
    flashAttention: "auto";
  }): Promise<{ gpuVram: number }>;
}

/**
 * @typeParam Level the package's own enumeration
 * @typeParam FileInfo what it reads of a GGUF file, which is only handed on
 * @typeParam Library its own class
 */
export interface NodeLlamaCpp<Level = string, FileInfo = unknown, Library extends LlamaCpp = LlamaCpp> {
  readonly LlamaLogLevel: { readonly info: Level };
  /** Thrown where an estimate is more than what is free. */
  readonly InsufficientMemoryError: new (
    message?: string,
  ) => Error;
  readonly GgufInsights: { from(file: FileInfo, llama: Library): Promise<GgufInsights> };
  readGgufFileInfo(path: string): Promise<FileInfo>;
  getLlama(options: {
    gpu: false | "cuda";
    build: "never";
    skipDownload: true;
    progressLogs: false;
    maxThreads: number;
    /** Bytes that it leaves free. */
    vramPadding: number;
    logLevel: Level;
    logger: (level: Level, message: string) => void;
  }): Promise<Library>;
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
