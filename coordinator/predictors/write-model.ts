/** Writes a model file again with other activation predictors. */
import { type FileHandle, open } from "node:fs/promises";
import type { Activation, FittedPredictor, WeightType } from "../../native/index.js";
import { ACTIVATION_KEY, RELU_THRESHOLD_KEY } from "../model/activation.js";
import type { GgufValue } from "../model/gguf-metadata.js";
import { type GgufTensorSpec, GgufWriter } from "../model/gguf-writer.js";
import type { Model } from "../model/model.js";
import { PREDICTOR_TENSOR } from "../model/predictor.js";
import { readExactly } from "../model/read-exactly.js";
import { PREDICTOR_THRESHOLD_KEY } from "../model/shape.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";

export interface LayerPredictor {
  layer: number;
  rank: number;
  weights: Pick<FittedPredictor, "fc1" | "fc2">;
}

export interface WriteOptions {
  type: WeightType;
  /** null keeps what the file says; predictors were trained for these. */
  activation: Activation | null;
  reluThreshold: number | null;
  signal: AbortSignal;
}

const PIECE_BYTES = 4 << 20;

/**
 * Copies every tensor but the predictors, piece by piece, and appends the new ones. Their logits' threshold is 0, so the
 * file names none. It appears under its name, in place of what was there, when it is whole.
 *
 * @throws ThermoclineError RESOURCE_EXHAUSTED (no room for it), or the signal's reason
 */
export async function writeWithPredictors(
  { file, shape }: Pick<Model, "file" | "shape">,
  out: string,
  predictors: readonly LayerPredictor[],
  options: WriteOptions,
): Promise<void> {
  const { type, signal } = options;
  const stored = WEIGHT_TYPES[type];
  const kept = [...file.tensors.values()].filter(({ name }) => !PREDICTOR_TENSOR.test(name));
  const added = predictors.flatMap(({ layer, rank, weights: { fc1, fc2 } }) => [
    { spec: { name: `blk.${layer}.fc1.weight`, type: stored, dims: [shape.embd, rank] }, bytes: fc1 },
    { spec: { name: `blk.${layer}.fc2.weight`, type: stored, dims: [rank, shape.ff] }, bytes: fc2 },
  ]);
  const tensors: GgufTensorSpec[] = [
    ...kept.map(({ name, type: keptType, dims }) => ({ name, type: keptType, dims })),
    ...added.map(({ spec }) => spec),
  ];
  const metadata = metadataFor(file.metadata, shape.reluThreshold, options);
  const header = { format: file.format, version: 3, metadata, tensors } as const;
  const writer = await GgufWriter.create(out, header, { replace: true });
  try {
    const source = await open(file.path);
    try {
      for (const { name, offset, bytes } of kept) {
        await copy(source, file.path, { offset, bytes }, signal, (piece) => writer.write(name, piece));
      }
    } finally {
      await source.close();
    }
    for (const { spec, bytes } of added) await writer.write(spec.name, bytes);
    await writer.finish();
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

function metadataFor(
  known: Iterable<readonly [string, GgufValue]>,
  threshold: number,
  { activation, reluThreshold }: WriteOptions,
): Map<string, GgufValue> {
  const metadata = new Map(known);
  metadata.delete(PREDICTOR_THRESHOLD_KEY);
  if (activation !== null) metadata.set(ACTIVATION_KEY, { type: "string", value: activation });
  if (reluThreshold === 0) metadata.delete(RELU_THRESHOLD_KEY);
  else if (reluThreshold !== null) metadata.set(RELU_THRESHOLD_KEY, { type: "float32", value: threshold });
  return metadata;
}

async function copy(
  source: FileHandle,
  path: string,
  { offset, bytes }: { offset: number; bytes: number },
  signal: AbortSignal,
  write: (piece: Uint8Array) => Promise<void>,
): Promise<void> {
  for (let done = 0; done < bytes; done += PIECE_BYTES) {
    signal.throwIfAborted();
    await write(await readExactly(source, path, offset + done, Math.min(PIECE_BYTES, bytes - done)));
  }
}
