/** Activation predictors for a model: collects activations, trains layer after layer, writes the model with them. */
import { rename, statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { type Activation, machine, NativeError, type WeightType } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import {
  BUILT_ENTRIES,
  type ExecutorEntries,
  type ExecutorOptions,
  type PrivateExecutors,
  withExecutors,
} from "../execution.js";
import type { ExecutorGroup } from "../executors/group.js";
import { createLog } from "../log.js";
import { loadModel } from "../model/load-model.js";
import type { Model } from "../model/model.js";
import { withPredictor } from "../model/predictor.js";
import { type Measurement, measurePerplexity } from "../perplexity/measure.js";
import { carryProfile } from "../profile/carry-profile.js";
import { profilePath } from "../profile/profile-file.js";
import { profiledModel } from "../profile/profiled-model.js";
import { limitsFor } from "../serving-defaults.js";
import { collect, cutRows } from "./collect.js";
import { layersOf, refuseDense, refuseExisting, refuseLayerNorm, refuseType } from "./refusals.js";
import { recordBytes, rowSetOf, windowsToRead } from "./row-sets.js";
import { readTexts } from "./texts.js";
import { type TotalReport, totalOf } from "./total.js";
import { type LayerProgress, type LayerReport, type TrainedLayer, trainLayer } from "./train-layer.js";
import { identityOf, WorkFolder } from "./work-folder.js";
import { writeWithPredictors } from "./write-model.js";

export interface TrainPredictorOptions {
  modelPath: string;
  /** null takes the file's own; what is given is written into `out`. */
  activation: Activation | null;
  reluThreshold: number | null;
  textPaths: readonly string[];
  /** null takes the windows of the texts that were kept for the figures. */
  evalTextPath: string | null;
  out: string;
  /** Whether an existing file may be replaced. */
  replace: boolean;
  recall: number;
  /** null takes as many as `diskBytes` allow, up to a default. */
  tokens: number | null;
  diskBytes: number;
  type: WeightType;
  mostRank: number;
  /** null is decided by the number of rows. */
  epochs: number | null;
  /** null takes all. */
  layers: { first: number; last: number } | null;
  seed: number;
  /** null takes one a core. */
  threads: number | null;
  keepWork: boolean;
  logLevel: string;
}

export type TrainStage =
  | { kind: "tokenizing" }
  /** There are no activations yet; what they will take. */
  | { kind: "starting"; folder: string; windows: number; bytes: number }
  /** There are some from before. */
  | { kind: "resuming"; folder: string; windowsDone: number; windows: number }
  | { kind: "collecting"; windowsDone: number; windows: number }
  /** The layer's number, and its place among those that are trained, from 1. */
  | ({ kind: "training"; layer: number; place: number; layers: number } & LayerProgress)
  | { kind: "writing" }
  | { kind: "evaluating"; share: number; predictor: boolean };

export interface TrainReport {
  model: string;
  out: string;
  options: { recall: number; type: WeightType; epochs: number; seed: number };
  tokens: number;
  layers: LayerReport[];
  /** null when that of a layer is not known. */
  total: TotalReport | null;
  /** Over the evaluation's windows; null for a model no layer of which got a predictor. */
  perplexity: { without: Measurement; with: Measurement | null };
  /** What became of the profile beside the model; null where there is none. */
  profileNote: string | null;
  collectSeconds: number;
  trainSeconds: number;
}

export interface TrainWatch {
  onStage: (stage: TrainStage) => void;
  signal: AbortSignal;
  entries?: ExecutorEntries;
  /** The thread that tokenizes. */
  encoderEntry?: URL;
}

const MOST_CONTEXT = 512;
/** Perplexities of so many windows are precise enough to compare two runs over the same tokens. */
const MOST_EVAL_WINDOWS = 200;
/** Rows that a training sees in all, within these epochs. */
const ROWS_TO_SEE = 1_000_000;
const LEAST_EPOCHS = 3;
const MOST_EPOCHS = 30;

/** @throws ThermoclineError, or the signal's reason; what was done by then is kept for the next call */
export async function trainPredictors(
  options: TrainPredictorOptions,
  watch: TrainWatch,
): Promise<TrainReport> {
  const { signal } = watch;
  try {
    return await run(options, watch);
  } catch (error) {
    if (signal.aborted) throw signal.reason;
    throw error instanceof NativeError ? asThermoclineError(error) : error;
  }
}

async function run(options: TrainPredictorOptions, watch: TrainWatch): Promise<TrainReport> {
  const { onStage, signal } = watch;
  const model = withPredictor(await loadModel(options.modelPath, options), "off");
  refuseDense(model);
  refuseLayerNorm(model);
  refuseType(model, options.type, options.mostRank);
  refuseExisting(options);
  const layers = layersOf(model, options.layers);
  const { shape } = model;
  const contextLength = Math.min(MOST_CONTEXT, model.trainedContextLength);
  const free = await statfs(dirname(options.out)).catch((error: unknown) => {
    throw new ThermoclineError("NOT_FOUND", `${options.out}: its folder cannot be used: ${String(error)}`);
  });
  const folder = new WorkFolder(`${options.out}.train`);
  const held = await folder.held();
  const bytesPerToken = recordBytes(shape) * layers.length;
  const most = windowsToRead({
    // As many as before, however much room there is now.
    tokens: options.tokens ?? (held.windows === null ? null : held.windows * contextLength),
    contextLength,
    bytesPerToken,
    diskBytes: options.diskBytes,
    freeBytes: Math.max(0, free.bavail * free.bsize + held.bytes - model.fileBytes),
  });
  onStage({ kind: "tokenizing" });
  const texts = { model, contextLength, ...watch };
  const windows = await readTexts(options.textPaths, most, texts);
  const evaluated =
    options.evalTextPath === null
      ? windows.filter((_, window) => rowSetOf(window, windows.length) === "test")
      : await readTexts([options.evalTextPath], MOST_EVAL_WINDOWS, texts);

  const { digest } = await profiledModel(model);
  const identity = identityOf({ digest, shape, windows, layers });
  const collection = await folder.open(identity, windows.length);
  const { windowsDone } = collection;
  const tokens = windows.length * contextLength;
  const known = { folder: folder.path, windows: windows.length };
  if (windowsDone > 0) onStage({ kind: "resuming", ...known, windowsDone });
  else onStage({ kind: "starting", ...known, bytes: tokens * bytesPerToken });
  const collectStart = performance.now();
  const rows = { windows, layers, shape, folder, collection };
  if (windowsDone < windows.length) {
    const onProgress = (done: number) =>
      onStage({ kind: "collecting", windowsDone: done, windows: windows.length });
    await onExecutors(model, contextLength, options, watch, "activations", (group) =>
      collect(group, { ...rows, onProgress, signal }),
    );
  } else {
    await cutRows(rows);
  }
  const trainStart = performance.now();
  const epochs =
    options.epochs ?? Math.max(LEAST_EPOCHS, Math.min(MOST_EPOCHS, Math.round(ROWS_TO_SEE / (0.8 * tokens))));
  const trained: TrainedLayer[] = [];
  for (const [index, layer] of layers.entries()) {
    const threads = options.threads ?? machine().cores;
    const onProgress = (progress: LayerProgress) =>
      onStage({ kind: "training", layer, place: index + 1, layers: layers.length, ...progress });
    trained.push(await trainLayer(model, layer, folder, { ...options, epochs, threads }, onProgress, signal));
  }
  const trainSeconds = (performance.now() - trainStart) / 1000;

  const predictors = trained.flatMap(({ report: { layer }, best }) =>
    best === null ? [] : [{ layer, rank: best.rank, weights: best.fitted }],
  );
  onStage({ kind: "writing" });
  await writeWithPredictors(model, folder.modelPath, predictors, { ...options, signal });
  const evaluate = async (of: Model, predictor: boolean) => {
    const measured = await onExecutors(of, contextLength, options, watch, "none", (group) =>
      measurePerplexity(group, {
        windows: evaluated,
        shape,
        onProgress: ({ share }) => onStage({ kind: "evaluating", share, predictor }),
        signal,
      }),
    );
    signal.throwIfAborted();
    return measured;
  };
  const without = await evaluate(model, false);
  const withThem =
    predictors.length === 0 ? null : await evaluate(await loadModel(folder.modelPath, {}), true);
  refuseExisting(options);
  const profileNote = await carryProfile(model.path, folder.modelPath, {
    path: profilePath(options.out),
    replace: options.replace,
  });
  await rename(folder.modelPath, options.out);
  if (!options.keepWork) await folder.remove();
  const { recall, type, seed } = options;
  const reports = trained.map(({ report }) => report);
  return {
    model: model.path,
    out: options.out,
    options: { recall, type, epochs, seed },
    tokens,
    layers: reports,
    total: totalOf(model, reports),
    perplexity: { without, with: withThem },
    profileNote,
    collectSeconds: (trainStart - collectStart) / 1000,
    trainSeconds,
  };
}

function onExecutors<T>(
  model: Model,
  contextLength: number,
  { threads, logLevel }: TrainPredictorOptions,
  { entries = BUILT_ENTRIES, signal }: TrainWatch,
  observation: NonNullable<PrivateExecutors["observation"]>,
  work: (group: ExecutorGroup) => Promise<T>,
): Promise<T> {
  const sizes = limitsFor(model, { slots: 1, contextLength });
  const limits = { ...sizes, maxLogitRows: sizes.maxRows };
  const options: ExecutorOptions = {
    gpu: "off",
    vramBudgetBytes: null,
    cpuExecutors: 1,
    threads,
    repack: true,
    placementPath: null,
    executorAddresses: [],
  };
  const log = createLog("train-predictor", logLevel);
  const onState = () => undefined;
  return withExecutors(
    { model, options, limits, observation, profile: null, entries, log, onState, signal },
    work,
  );
}

function asThermoclineError(error: NativeError): ThermoclineError {
  const codes = {
    "out-of-memory": "RESOURCE_EXHAUSTED",
    corrupt: "DATA_LOSS",
    "not-found": "NOT_FOUND",
  } as const;
  const code = error.code in codes ? codes[error.code as keyof typeof codes] : "INTERNAL";
  return new ThermoclineError(code, error.message, { cause: error });
}
