/** Writes small random models of llama's kind: complete GGUF files with a vocabulary, seeded, of any weight type. */
import { ACTIVATION_KEY, RELU_THRESHOLD_KEY } from "../../coordinator/model/activation.js";
import type { GgufValue } from "../../coordinator/model/gguf-metadata.js";
import { writeGguf } from "../../coordinator/model/gguf-writer.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import type { Activation, WeightType } from "../../native/index.js";
import { Random } from "./random.js";
import { quantize } from "./stored-rows.js";
import { TINY_VOCAB, tinyVocabulary } from "./tiny-vocabulary.js";

/** What norms are made of, and their epsilon's key. */
const NORMS = {
  llama: { parts: ["weight"], epsilon: "layer_norm_rms_epsilon" },
  olmo: { parts: [], epsilon: "layer_norm_epsilon" },
  orion: { parts: ["weight", "bias"], epsilon: "layer_norm_epsilon" },
  stablelm: { parts: ["weight", "bias"], epsilon: "layer_norm_epsilon" },
} as const;

export interface TinyModelOptions {
  seed: number;
  type: WeightType;
  activation: Activation;
  reluThreshold: number;
  layers: number;
  embd: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  ff: number;
  contextLength: number;
  /** Uses the embedding as the head. */
  tied: boolean;
  /** Stores the down-projection one row a neuron, as `ffn_down_t`. */
  downTransposed: boolean;
  /** Hidden units of the predictor; null leaves it out. */
  predictorRank: number | null;
  /** Decides norms and which pairs of dimensions turn. */
  architecture: keyof typeof NORMS;
  /** Leading dimensions of a head that turn; null for all. */
  ropeDims: number | null;
  /** Adds `rope_freqs.weight`, a divisor for the frequency of each rotated pair. */
  ropeFactors: boolean;
}

/** Grouped-query attention, and more neurons than one 64-bit word of an active set counts. */
export const TINY: TinyModelOptions = {
  seed: 1,
  type: "f32",
  activation: "relu",
  reluThreshold: 0,
  layers: 3,
  embd: 64,
  heads: 4,
  kvHeads: 2,
  headDim: 16,
  ff: 96,
  contextLength: 64,
  tied: true,
  downTransposed: true,
  predictorRank: null,
  architecture: "llama",
  ropeDims: null,
  ropeFactors: false,
};

interface Weights {
  name: string;
  type: WeightType;
  rows: number;
  cols: number;
  values: Float32Array;
}

/** Writes `given`, and {@link TINY} for what is not given, to `path`, and reads it as the product does. */
export async function writeTinyModel(path: string, given: Partial<TinyModelOptions>): Promise<Model> {
  const options = { ...TINY, ...given };
  const tensors = randomWeights(options).map(async ({ name, type, rows, cols, values }) => ({
    name,
    type: WEIGHT_TYPES[type],
    dims: rows === 1 ? [cols] : [cols, rows],
    data: await quantize(type, values),
  }));
  await writeGguf(path, {
    format: options.predictorRank === null ? "gguf" : "pwri",
    version: 3,
    metadata: metadata(options),
    tensors: await Promise.all(tensors),
  });
  return loadModel(path, { activation: null });
}

/** Scaled so that every activation, and every logit, is of order one. */
function randomWeights(options: TinyModelOptions): Weights[] {
  const { type, embd, heads, kvHeads, headDim, ff, predictorRank } = options;
  const random = new Random(options.seed);
  const matrix = (name: string, rows: number, cols: number, scale = 1 / Math.sqrt(cols)): Weights => ({
    name,
    type,
    rows,
    cols,
    values: Float32Array.from({ length: rows * cols }, () => scale * random.normal()),
  });
  const vector = (name: string, length: number, mean: number, spread: number): Weights => ({
    name,
    type: "f32",
    rows: 1,
    cols: length,
    values: Float32Array.from({ length }, () => mean + spread * random.symmetric()),
  });
  const norm = (name: string): Weights[] =>
    NORMS[options.architecture].parts.map((part) =>
      vector(`${name}.${part}`, embd, part === "weight" ? 1 : 0, 0.2),
    );
  const layer = (index: number): Weights[] => {
    const block = `blk.${index}`;
    return [
      ...norm(`${block}.attn_norm`),
      matrix(`${block}.attn_q.weight`, heads * headDim, embd),
      matrix(`${block}.attn_k.weight`, kvHeads * headDim, embd),
      matrix(`${block}.attn_v.weight`, kvHeads * headDim, embd),
      matrix(`${block}.attn_output.weight`, embd, heads * headDim),
      ...norm(`${block}.ffn_norm`),
      matrix(`${block}.ffn_gate.weight`, ff, embd),
      matrix(`${block}.ffn_up.weight`, ff, embd),
      options.downTransposed
        ? matrix(`${block}.ffn_down_t.weight`, ff, embd, 1 / Math.sqrt(ff))
        : matrix(`${block}.ffn_down.weight`, embd, ff),
      ...(predictorRank === null
        ? []
        : [
            matrix(`${block}.fc1.weight`, predictorRank, embd),
            matrix(`${block}.fc2.weight`, ff, predictorRank),
          ]),
    ];
  };
  return [
    matrix("token_embd.weight", TINY_VOCAB, embd, 1),
    ...Array.from({ length: options.layers }, (_, index) => layer(index)).flat(),
    ...norm("output_norm"),
    ...(options.tied ? [] : [matrix("output.weight", TINY_VOCAB, embd)]),
    ...(options.ropeFactors ? [vector("rope_freqs.weight", headDim / 2, 1, 0.5)] : []),
  ];
}

function metadata(options: TinyModelOptions): [string, GgufValue][] {
  const { architecture } = options;
  const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
  const float32 = (value: number): GgufValue => ({ type: "float32", value });
  return [
    ["general.architecture", { type: "string", value: architecture }],
    ["general.name", { type: "string", value: "tiny random model" }],
    [`${architecture}.context_length`, uint32(options.contextLength)],
    [`${architecture}.embedding_length`, uint32(options.embd)],
    [`${architecture}.block_count`, uint32(options.layers)],
    [`${architecture}.feed_forward_length`, uint32(options.ff)],
    [`${architecture}.attention.head_count`, uint32(options.heads)],
    [`${architecture}.attention.head_count_kv`, uint32(options.kvHeads)],
    [`${architecture}.attention.key_length`, uint32(options.headDim)],
    [`${architecture}.attention.value_length`, uint32(options.headDim)],
    [`${architecture}.attention.${NORMS[architecture].epsilon}`, float32(1e-5)],
    [`${architecture}.rope.dimension_count`, uint32(options.ropeDims ?? options.headDim)],
    [`${architecture}.rope.freq_base`, float32(10_000)],
    [`${architecture}.vocab_size`, uint32(TINY_VOCAB)],
    [ACTIVATION_KEY, { type: "string", value: options.activation }],
    ...(options.reluThreshold === 0
      ? []
      : [[RELU_THRESHOLD_KEY, float32(options.reluThreshold)] as [string, GgufValue]]),
    ...tinyVocabulary(),
  ];
}
