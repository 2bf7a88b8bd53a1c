/** The perplexity of a model over a text file, on executors of its own. */
import {
  BUILT_ENTRIES,
  type ExecutionOptions,
  type ExecutorEntries,
  openModel,
  withExecutors,
} from "../execution.js";
import type { GroupState } from "../executors/group-state.js";
import { createLog } from "../log.js";
import type { Model } from "../model/model.js";
import { Encoder } from "../model/tokenizer/encoder.js";
import { loadTokenizer } from "../model/tokenizer/load-tokenizer.js";
import { loadProfile } from "../placement/profile.js";
import type { StepLimits } from "../schedule/step.js";
import { limitsFor } from "../serving-defaults.js";
import { type Measurement, type MeasureProgress, measurePerplexity } from "./measure.js";
import { textWindows } from "./text-windows.js";

/** That of llama.cpp's tool. */
const DEFAULT_CONTEXT = 512;

export interface PerplexityOptions extends ExecutionOptions {
  textPath: string;
  /** Tokens of a window; null takes 512, or the model's context if that is less. */
  contextLength: number | null;
  /** Most windows; null takes all of the text. */
  chunks: number | null;
  logLevel: string;
}

/** What goes on. */
export type PerplexityStage =
  | { kind: "tokenizing"; characters: number }
  | { kind: "loading"; bytesDone: number; bytesTotal: number }
  | ({ kind: "measuring" } & MeasureProgress);

export interface PerplexityReport extends Measurement {
  model: Pick<Model, "path" | "shape" | "hasPredictor">;
  contextLength: number;
  /** Of the text, or those asked for. */
  windows: number;
}

export interface PerplexityWatch {
  onStage: (stage: PerplexityStage) => void;
  /** Aborted while windows are measured, it ends that; before, the promise rejects with its reason. */
  signal: AbortSignal;
  entries?: ExecutorEntries;
  /** The thread that tokenizes. */
  encoderEntry?: URL;
}

/** @throws ThermoclineError, or the signal's reason */
export async function runPerplexity(
  options: PerplexityOptions,
  { onStage, signal, entries = BUILT_ENTRIES, encoderEntry }: PerplexityWatch,
): Promise<PerplexityReport> {
  const model = await openModel(options);
  const limits = limitsOf(model, options);
  const windows = await windowsOf(model, options, limits.contextLength, { onStage, signal, encoderEntry });
  const profile = await loadProfile(model.path, model.shape);
  const log = createLog("perplexity", options.logLevel);
  const onState = (state: GroupState) => {
    if (state.kind === "loading") onStage(state);
    else if (state.kind === "recovering") log.error({ reason: state.reason }, "recovering");
  };
  const executors = { model, options, limits, profile, entries, log, onState, signal };
  const measurement = await withExecutors(executors, (group) =>
    measurePerplexity(group, {
      windows,
      shape: model.shape,
      onProgress: (progress) => onStage({ kind: "measuring", ...progress }),
      signal,
    }),
  ).catch((error: unknown) => {
    throw signal.aborted ? signal.reason : error;
  });
  return { model, contextLength: limits.contextLength, windows: windows.length, ...measurement };
}

/** One window at a time, with room for the logits of all rows of a step. */
function limitsOf(model: Model, { contextLength }: PerplexityOptions): StepLimits {
  const limits = limitsFor(model, {
    slots: 1,
    contextLength: contextLength ?? Math.min(model.trainedContextLength, DEFAULT_CONTEXT),
  });
  return { ...limits, maxLogitRows: limits.maxRows };
}

async function windowsOf(
  model: Model,
  { textPath, chunks }: PerplexityOptions,
  contextLength: number,
  {
    onStage,
    signal,
    encoderEntry,
  }: Pick<PerplexityWatch, "onStage" | "signal"> & { encoderEntry: URL | undefined },
): Promise<number[][]> {
  const tokenizer = loadTokenizer(model.file);
  const encoder = new Encoder(tokenizer, model, encoderEntry);
  try {
    return await textWindows({
      path: textPath,
      tokenizer,
      encoder,
      contextLength,
      most: chunks,
      onTokenizing: (characters) => onStage({ kind: "tokenizing", characters }),
      signal,
    });
  } finally {
    await encoder.close();
  }
}
