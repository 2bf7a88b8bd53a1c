/** Finds the tensors a llama-shaped model consists of and checks that the engines can compute with each of them. */
import type { ModelShape, TensorRef } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Architecture } from "./architecture.js";
import type { GgufFile, GgufTensor } from "./gguf.js";
import { abbreviate } from "./gguf-metadata.js";
import { SUPPORTED_TYPE_NAMES } from "./tensor-types.js";

export interface ModelTensors {
  /** In the order of the layers, embedding first. */
  refs: TensorRef[];
  vocab: number;
  /** Whether any layer has one; a layer without computes every gate. */
  hasPredictor: boolean;
  downTransposed: boolean;
  /** Elements of all weights, without predictors and rotary factors. */
  parameters: number;
}

/** Tensors that old converters wrote and nobody reads. */
const IGNORED = /^blk\.\d+\.attn_rot_embd(\.weight)?$/;
const NOT_PARAMETERS = /^(rope_freqs|blk\.\d+\.fc[12])\.weight$/;

/**
 * @throws ThermoclineError DATA_LOSS when a tensor is missing or of the wrong size, UNIMPLEMENTED when one has a type
 *   without kernels or belongs to a calculation the engines do not have (biases of matrices, experts)
 */
export function collectTensors(
  file: GgufFile,
  { normParts }: Architecture,
  shape: Omit<ModelShape, "activation" | "reluThreshold" | "vocab">,
): ModelTensors {
  const collector = new Collector(file);
  const { layers, embd, heads, kvHeads, headDim, ff, ropeDims } = shape;
  const vocab = collector.matrix("token_embd.weight", embd, null).rows;
  const tokens = file.metadata.strings("tokenizer.ggml.tokens", []).length;
  if (tokens > vocab)
    throw collector.wrong(`the vocabulary has ${tokens} tokens, the embedding ${vocab} rows`);
  const norm = (name: string): void => {
    for (const part of normParts) collector.vector(`${name}.${part}`, embd);
  };
  let predictors = 0;
  let transposed = 0;
  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string) => `blk.${layer}.${part}.weight`;
    norm(`blk.${layer}.attn_norm`);
    collector.matrix(name("attn_q"), embd, heads * headDim);
    collector.matrix(name("attn_k"), embd, kvHeads * headDim);
    collector.matrix(name("attn_v"), embd, kvHeads * headDim);
    collector.matrix(name("attn_output"), heads * headDim, embd);
    if (normParts.length > 0 && !file.tensors.has(name("ffn_norm")) && file.tensors.has(name("attn_norm"))) {
      // Such as StableLM 2 12B.
      throw collector.unimplemented(
        `there is no ${name("ffn_norm")}, so that attention and FFN of a layer have the same input, which no engine ` +
          "can compute yet; use a model with norms before both",
      );
    }
    norm(`blk.${layer}.ffn_norm`);
    collector.matrix(name("ffn_gate"), embd, ff);
    collector.matrix(name("ffn_up"), embd, ff);
    if (file.tensors.has(name("ffn_down_t"))) {
      collector.matrix(name("ffn_down_t"), embd, ff);
      transposed += 1;
    } else {
      collector.matrix(name("ffn_down"), ff, embd);
    }
    if (file.tensors.has(name("fc1")) || file.tensors.has(name("fc2"))) {
      const rank = collector.matrix(name("fc1"), embd, null).rows;
      collector.matrix(name("fc2"), rank, ff);
      predictors += 1;
    }
  }
  if (transposed !== 0 && transposed !== layers) {
    throw collector.wrong(`${transposed} of ${layers} layers hold ffn_down_t where all or none should`);
  }
  norm("output_norm");
  if (file.tensors.has("output.weight")) collector.matrix("output.weight", embd, vocab);
  if (file.tensors.has("rope_freqs.weight")) collector.vector("rope_freqs.weight", ropeDims / 2);
  collector.checkNothingIsLeft();
  return {
    refs: collector.refs,
    vocab,
    hasPredictor: predictors > 0,
    downTransposed: transposed === layers,
    parameters: collector.refs
      .filter((ref) => !NOT_PARAMETERS.test(ref.name))
      .reduce((sum, ref) => sum + ref.rows * ref.cols, 0),
  };
}

class Collector {
  readonly refs: TensorRef[] = [];

  constructor(private readonly file: GgufFile) {}

  /** A matrix of `cols` columns and `rows` rows; null takes any number of rows. */
  matrix(name: string, cols: number, rows: number | null): TensorRef {
    const tensor = this.find(name);
    const [foundCols = 1, foundRows = 1, ...more] = tensor.dims;
    if (foundCols !== cols || (rows !== null && foundRows !== rows) || more.some((dim) => dim !== 1)) {
      const wanted = rows === null ? `rows of ${cols}` : `${rows} rows of ${cols}`;
      throw this.wrong(`tensor ${name} has the dimensions ${shown(tensor)} where ${wanted} belong`);
    }
    return this.add(tensor, foundRows, cols);
  }

  /** A vector, stored in F32 by every converter. */
  vector(name: string, length: number): void {
    const tensor = this.find(name);
    const [found = 1, ...more] = tensor.dims;
    if (found !== length || more.some((dim) => dim !== 1)) {
      throw this.wrong(`tensor ${name} has the dimensions ${shown(tensor)} where ${length} elements belong`);
    }
    if (tensor.type.weightType !== "f32") {
      throw this.unimplemented(`tensor ${name} has type ${tensor.type.name}; supported for vectors: F32`);
    }
    this.add(tensor, 1, length);
  }

  /** A tensor nobody asked for changes what the model computes. */
  checkNothingIsLeft(): void {
    const known = new Set(this.refs.map((ref) => ref.name));
    for (const name of this.file.tensors.keys()) {
      if (!known.has(name) && !IGNORED.test(name)) {
        throw this.unimplemented(
          `tensor ${abbreviate(name)} belongs to no calculation the engines have; use a model without it`,
        );
      }
    }
  }

  wrong(what: string): ThermoclineError {
    return new ThermoclineError("DATA_LOSS", `${this.file.path}: ${what}; convert the model again`);
  }

  unimplemented(what: string): ThermoclineError {
    return new ThermoclineError("UNIMPLEMENTED", `${this.file.path}: ${what}`);
  }

  private find(name: string): GgufTensor {
    const tensor = this.file.tensors.get(name);
    if (tensor === undefined) throw this.wrong(`tensor ${name} is missing`);
    return tensor;
  }

  private add(tensor: GgufTensor, rows: number, cols: number): TensorRef {
    const { name, offset } = tensor;
    const type = tensor.type.weightType;
    if (type === null) {
      throw this.unimplemented(
        `tensor ${name} has type ${tensor.type.name}, which has no kernels yet; supported: ${SUPPORTED_TYPE_NAMES}`,
      );
    }
    const ref: TensorRef = { name, type, offset, rows, cols };
    this.refs.push(ref);
    return ref;
  }
}

function shown(tensor: GgufTensor): string {
  return `[${tensor.dims.join(", ")}]`;
}
