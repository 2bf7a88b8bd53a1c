/** Writes a model file again with other activation predictors. */
import { type FileHandle, open } from "node:fs/promises";
import type { FittedPredictor, WeightType } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { GgufFile } from "../model/gguf.js";
import { type GgufTensorSpec, GgufWriter } from "../model/gguf-writer.js";
import { PREDICTOR_TENSOR } from "../model/predictor.js";
import { readExactly } from "../model/read-exactly.js";
import { PREDICTOR_THRESHOLD_KEY } from "../model/shape.js";
import { tensorTypeNumber, WEIGHT_TYPES } from "../model/tensor-types.js";

export interface LayerPredictor {
  layer: number;
  rank: number;
  weights: Pick<FittedPredictor, "fc1" | "fc2">;
}

const PIECE_BYTES = 4 << 20;

/**
 * Copies every tensor but the predictors, piece by piece, and appends the new ones. Their logits' threshold is 0, so the
 * file names none. It appears under its name, in place of what was there, when it is whole.
 *
 * @throws ThermoclineError INVALID_ARGUMENT (the file's format has no such type), RESOURCE_EXHAUSTED (no room for it),
 *   or the signal's reason
 */
export async function writeWithPredictors(
  file: GgufFile,
  out: string,
  predictors: readonly LayerPredictor[],
  { type, signal }: { type: WeightType; signal: AbortSignal },
): Promise<void> {
  const stored = WEIGHT_TYPES[type];
  if (tensorTypeNumber(file.format, stored.name) === null) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `${file.path}: ${file.format.toUpperCase()} files have no type ${stored.name}; choose --type f16`,
    );
  }
  const kept = [...file.tensors.values()].filter(({ name }) => !PREDICTOR_TENSOR.test(name));
  const embd = kept.find(({ name }) => name === "token_embd.weight")?.dims[0] ?? 0;
  const added = predictors.flatMap(({ layer, rank, weights: { fc1, fc2 } }) => {
    const ff = file.tensors.get(`blk.${layer}.ffn_gate.weight`)?.dims[1] ?? 0;
    return [
      { spec: { name: `blk.${layer}.fc1.weight`, type: stored, dims: [embd, rank] }, bytes: fc1 },
      { spec: { name: `blk.${layer}.fc2.weight`, type: stored, dims: [rank, ff] }, bytes: fc2 },
    ];
  });
  const tensors: GgufTensorSpec[] = [
    ...kept.map(({ name, type: keptType, dims }) => ({ name, type: keptType, dims })),
    ...added.map(({ spec }) => spec),
  ];
  const metadata = [...file.metadata].filter(([key]) => key !== PREDICTOR_THRESHOLD_KEY);
  const writer = await GgufWriter.create(
    out,
    { format: file.format, version: 3, metadata, tensors },
    { replace: true },
  );
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
