/** The predictor of one layer: the search for it, and what it was measured to do. */
import { type Confusion, LayerTraining, type TrainingProgress, type WeightType } from "../../native/index.js";
import type { Model } from "../model/model.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import { type LayerCost, layerCost, neuronBytes, predictorBytes } from "./cost.js";
import { readGate } from "./gate-matrix.js";
import { type Candidate, type Measured, searchRanks } from "./rank-search.js";
import { identityOf, type WorkFolder } from "./work-folder.js";

export interface LayerOptions {
  type: WeightType;
  recall: number;
  mostRank: number;
  epochs: number;
  seed: number;
  threads: number;
}

/** Figures come from rows that neither training nor the margin have seen. */
export interface CandidateReport extends Candidate {
  test: Confusion;
  recall: number;
  precision: number;
  /** Of the pairs, those taken for active. */
  predictedShare: number;
  cost: LayerCost;
  /** Of the FFN's weights, the predictor's. */
  ffnShare: number;
}

export interface LayerReport {
  layer: number;
  /** Of the pairs, those that fire. */
  firedShare: number;
  /** What was chosen; null where every gate is read, since no predictor that meets the recall reads less. */
  chosen: CandidateReport | null;
  /** All that were measured, the best first. */
  candidates: CandidateReport[];
  seconds: number;
}

export interface TrainedLayer {
  report: LayerReport;
  best: Measured | null;
}

/** The least rank, of which all are multiples: rows are whole blocks then, and wide enough for the kernels. */
export function leastRank(type: WeightType): number {
  return Math.max(16, WEIGHT_TYPES[type].blockSize);
}

export async function trainLayer(
  model: Model,
  layer: number,
  folder: WorkFolder,
  options: LayerOptions,
  onProgress: (candidate: Candidate, progress: TrainingProgress | null) => void,
  signal: AbortSignal,
): Promise<TrainedLayer> {
  const { embd, ff, reluThreshold } = model.shape;
  const { type, recall, mostRank, epochs, seed, threads } = options;
  const neuron = neuronBytes(model.tensors, layer, ff);
  const predictor = (rank: number) => predictorBytes(type, rank, embd, ff);
  const startMs = performance.now();
  let training: LayerTraining | null = null;
  const openTraining = async () =>
    LayerTraining.open({
      embd,
      ff,
      ...(await readGate(model, layer)),
      reluThreshold,
      mostRank,
      training: folder.rowsPath(layer, "training"),
      calibration: folder.rowsPath(layer, "calibration"),
      test: folder.rowsPath(layer, "test"),
      threads,
    });
  const measure = async (candidate: Candidate): Promise<Measured> => {
    signal.throwIfAborted();
    onProgress(candidate, null);
    const isTrained = candidate.kind === "trained";
    const identity = identityOf({ type, recall, seed, mostRank, epochs: isTrained ? epochs : 0 });
    let fitted = await folder.readFitted(layer, candidate, identity);
    if (fitted === null) {
      training ??= await openTraining();
      const checkpoint = isTrained ? folder.checkpointPath(layer) : null;
      fitted = await training.fit(
        { ...candidate, type, recall, epochs, seed, checkpoint },
        (progress) => onProgress(candidate, progress),
        signal,
      );
      await folder.writeFitted(layer, candidate, identity, fitted);
    }
    const { rows, predicted, found, fired } = fitted.calibration;
    const bytes = predictor(candidate.rank) + (predicted / rows) * neuron.gate;
    return { ...candidate, fitted, meets: found >= recall * fired, bytes };
  };
  try {
    const measured = await searchRanks({
      step: leastRank(type),
      mostRank,
      embd,
      predictorBytes: predictor,
      gateBytes: ff * neuron.gate,
      measure,
    });
    const first = measured[0];
    const best = first?.meets === true && first.bytes < ff * neuron.gate ? first : null;
    const candidates = measured.map(
      ({ kind, rank, fitted: { test } }): CandidateReport => ({
        ...{ kind, rank, test },
        recall: test.found / Math.max(1, test.fired),
        precision: test.found / Math.max(1, test.predicted),
        predictedShare: test.predicted / (test.rows * ff),
        cost: layerCost(predictor(rank), neuron, ff, test),
        ffnShare: predictor(rank) / (ff * (neuron.gate + neuron.rest)),
      }),
    );
    const seen = first?.fitted.test;
    const report: LayerReport = {
      layer,
      firedShare: seen === undefined ? Number.NaN : seen.fired / (seen.rows * ff),
      chosen: best === null ? null : (candidates[0] ?? null),
      candidates,
      seconds: (performance.now() - startMs) / 1000,
    };
    return { report, best };
  } finally {
    (training as LayerTraining | null)?.close();
  }
}
