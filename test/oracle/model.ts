/** A model's weights as the oracle sees them: float64, one row after the other. */
import { closeSync, openSync, readSync } from "node:fs";
import type { Model } from "../../coordinator/model/model.js";
import type { ModelShape, TensorRef, WeightType } from "../../native/index.js";
import { dequantize, encodedBytes } from "./dequantize.js";

/** `data[r * cols + c]`, dequantized; `type` is what the file stores. */
export interface Matrix {
  type: WeightType;
  rows: number;
  cols: number;
  data: Float64Array;
}

/** Null has no effect. */
export interface OracleNorm {
  weight: Matrix | null;
  bias: Matrix | null;
}

export interface OracleLayer {
  attnNorm: OracleNorm;
  q: Matrix;
  k: Matrix;
  v: Matrix;
  output: Matrix;
  ffnNorm: OracleNorm;
  /** [ff][embd] */
  gate: Matrix;
  /** [ff][embd] */
  up: Matrix;
  /** [embd][ff], whichever way the file stores it. */
  down: Matrix;
  /** Whether the file stores the down-projection one row a neuron (`ffn_down_t`). */
  downByNeuron: boolean;
  /** Predictor: [rank][embd] and [ff][rank]. */
  predictor: { fc1: Matrix; fc2: Matrix } | null;
}

export interface OracleModel {
  shape: ModelShape;
  embedding: Matrix;
  layers: OracleLayer[];
  outputNorm: OracleNorm;
  /** [vocab][embd]; the embedding itself when tied. */
  head: Matrix;
  /** Divides each rotated pair's frequency; null divides by 1. */
  ropeFactors: Float64Array | null;
}

/** Reads every tensor of a file. */
export function readOracleModel({ path, shape, tensors }: Model): OracleModel {
  const file = openSync(path, "r");
  try {
    const find = (name: string): Matrix | null => {
      const ref = tensors.find((tensor) => tensor.name === name);
      return ref === undefined ? null : readMatrix(file, ref);
    };
    const need = (name: string): Matrix => {
      const matrix = find(name);
      if (matrix === null) throw new Error(`the oracle finds no tensor ${name}`);
      return matrix;
    };
    const norm = (name: string): OracleNorm => ({
      weight: shape.norm === "rms" ? need(`${name}.weight`) : find(`${name}.weight`),
      bias: find(`${name}.bias`),
    });
    const embedding = need("token_embd.weight");
    return {
      shape,
      embedding,
      layers: Array.from({ length: shape.layers }, (_, layer) => readLayer(`blk.${layer}`, norm, find, need)),
      outputNorm: norm("output_norm"),
      head: find("output.weight") ?? embedding,
      ropeFactors: find("rope_freqs.weight")?.data ?? null,
    };
  } finally {
    closeSync(file);
  }
}

function readLayer(
  block: string,
  norm: (name: string) => OracleNorm,
  find: (name: string) => Matrix | null,
  need: (name: string) => Matrix,
): OracleLayer {
  const fc1 = find(`${block}.fc1.weight`);
  const fc2 = find(`${block}.fc2.weight`);
  const down = find(`${block}.ffn_down.weight`);
  return {
    attnNorm: norm(`${block}.attn_norm`),
    q: need(`${block}.attn_q.weight`),
    k: need(`${block}.attn_k.weight`),
    v: need(`${block}.attn_v.weight`),
    output: need(`${block}.attn_output.weight`),
    ffnNorm: norm(`${block}.ffn_norm`),
    gate: need(`${block}.ffn_gate.weight`),
    up: need(`${block}.ffn_up.weight`),
    down: down ?? transpose(need(`${block}.ffn_down_t.weight`)),
    downByNeuron: down === null,
    predictor: fc1 === null || fc2 === null ? null : { fc1, fc2 },
  };
}

function readMatrix(file: number, { name, type, offset, rows, cols }: TensorRef): Matrix {
  const bytes = new Uint8Array(encodedBytes(type, rows * cols));
  if (readSync(file, bytes, 0, bytes.length, offset) !== bytes.length)
    throw new Error(`${name} is cut short`);
  return { type, rows, cols, data: dequantize(type, bytes, rows * cols) };
}

function transpose({ type, rows, cols, data }: Matrix): Matrix {
  const out = new Float64Array(data.length);
  for (let row = 0; row < rows; row++) {
    for (let col = 0; col < cols; col++) out[col * rows + row] = data[row * cols + col] ?? 0;
  }
  return { type, rows: cols, cols: rows, data: out };
}
