/** The predictor of one layer: the search for it, and what it was measured to do. */
import { type Confusion, LayerTraining, type TrainingProgress, type WeightType } from "../../native/index.js";
import type { Model } from "../model/model.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import { type LayerCost, layerCost, neuronBytes, predictorBytes } from "./cost.js";
import { readGate } from "./gate-matrix.js";
import { byBytes, type Candidate, type Measured, searchRanks } from "./rank-search.js";
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

/** What a layer is at, and the best that was found for it so far. */
export interface LayerProgress {
  candidate: Candidate;
  /** null while a predictor is made of the gate alone, or measured. */
  training: TrainingProgress | null;
  best: CandidateReport | null;
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
  onProgress: (progress: LayerProgress) => void,
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
  const reportOf = ({ kind, rank, fitted: { test } }: Measured): CandidateReport => ({
    ...{ kind, rank, test },
    recall: test.found / Math.max(1, test.fired),
    precision: test.found / Math.max(1, test.predicted),
    predictedShare: test.predicted / (test.rows * ff),
    cost: layerCost(predictor(rank), neuron, ff, test),
    ffnShare: predictor(rank) / (ff * (neuron.gate + neuron.up + neuron.down)),
  });
  let best: Measured | null = null;
  const measure = async (candidate: Candidate): Promise<Measured> => {
    signal.throwIfAborted();
    const bestSoFar = best === null ? null : reportOf(best);
    const tell = (now: TrainingProgress | null) => onProgress({ candidate, training: now, best: bestSoFar });
    tell(null);
    const isTrained = candidate.kind === "trained";
    const identity = identityOf({ type, recall, seed, mostRank, epochs: isTrained ? epochs : 0 });
    let fitted = await folder.readFitted(layer, candidate, identity);
    if (fitted === null) {
      training ??= await openTraining();
      const checkpoint = isTrained ? folder.checkpointPath(layer) : null;
      fitted = await training.fit({ ...candidate, type, recall, epochs, seed, checkpoint }, tell, signal);
      await folder.writeFitted(layer, candidate, identity, fitted);
    }
    const { rows, predicted, found, fired } = fitted.calibration;
    const bytes = predictor(candidate.rank) + (predicted / rows) * neuron.gate;
    const measured = { ...candidate, fitted, meets: found >= recall * fired, bytes };
    if (best === null || byBytes(measured, best) < 0) best = measured;
    return measured;
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
    const chosen = first?.meets === true && first.bytes < ff * neuron.gate ? first : null;
    const seen = first?.fitted.test;
    const report: LayerReport = {
      layer,
      firedShare: seen === undefined ? Number.NaN : seen.fired / (seen.rows * ff),
      chosen: chosen === null ? null : reportOf(chosen),
      candidates: measured.map(reportOf),
      seconds: (performance.now() - startMs) / 1000,
    };
    return { report, best: chosen };
  } finally {
    (training as LayerTraining | null)?.close();
  }
}
