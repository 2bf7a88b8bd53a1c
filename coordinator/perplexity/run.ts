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
import { loadProfile } from "../placement/profile.js";
import type { StepLimits } from "../schedule/step.js";
import { readingLimits } from "../text/read-window.js";
import { textWindows, withEncoder } from "../text/text-windows.js";
import { type Measurement, type MeasureProgress, measurePerplexity } from "./measure.js";

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
  encoderEntry?: URL | undefined;
}

/** @throws ThermoclineError, or the signal's reason */
export async function runPerplexity(
  options: PerplexityOptions,
  watch: PerplexityWatch,
): Promise<PerplexityReport> {
  const { onStage, signal, entries = BUILT_ENTRIES } = watch;
  const model = await openModel(options);
  const limits = limitsOf(model, options);
  const windows = await windowsOf(model, options, limits.contextLength, watch);
  const profile = await loadProfile(model, options.profilePath);
  const log = createLog("perplexity", options.logLevel);
  const onState = (state: GroupState) => {
    if (state.kind === "loading") onStage(state);
    else if (state.kind === "recovering") log.error({ reason: state.reason }, "recovering");
  };
  const executors = { model, options, limits, profile, entries, log, onState, signal };
  const measurement = await withExecutors({ ...executors, observation: "none" }, (group) =>
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

/** With room for the logits of all rows of a step. */
function limitsOf(model: Model, { contextLength }: PerplexityOptions): StepLimits {
  const limits = readingLimits(model, contextLength);
  return { ...limits, maxLogitRows: limits.maxRows };
}

function windowsOf(
  model: Model,
  { textPath, chunks }: PerplexityOptions,
  contextLength: number,
  { onStage, signal, encoderEntry }: Pick<PerplexityWatch, "onStage" | "signal" | "encoderEntry">,
): Promise<number[][]> {
  return withEncoder(model, encoderEntry, (texts) =>
    textWindows({
      ...texts,
      path: textPath,
      contextLength,
      most: chunks,
      rest: "dropped",
      limitOption: (windows) => `--chunks ${windows}`,
      onTokenizing: (characters) => onStage({ kind: "tokenizing", characters }),
      signal,
    }),
  );
}
