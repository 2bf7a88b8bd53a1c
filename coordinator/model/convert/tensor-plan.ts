/** Which Hugging Face tensor becomes which GGUF tensor, and what happens to it on the way. */
import type { WeightType } from "../../../native/index.js";
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufTensorSpec } from "../gguf-writer.js";
import type { SafeTensor } from "../safetensors.js";
import { type Substitution, storedTypeOf } from "../stored-type.js";
import { WEIGHT_TYPES } from "../tensor-types.js";
import type { HfConfig } from "./hf-config.js";

/**
 * `rotary`: rows of each head are reordered. Hugging Face rotates element i of a head of d together with i + d/2;
 * GGUF's llama rotates 2i together with 2i + 1. `transpose`: columns become rows.
 */
export type Arrangement = "as-is" | "rotary" | "transpose";

export interface PlannedTensor {
  source: SafeTensor;
  spec: GgufTensorSpec;
  type: WeightType;
  arrangement: Arrangement;
  /** Of the result. */
  rows: number;
  /** Of the result; elements a row. */
  cols: number;
}

/** Derived from the rotary base by every reader. */
const IGNORED = /(^|\.)rotary_emb\.inv_freq$/;

/**
 * In the order of the layers, embedding first. Down-projections of models with ReLU gates are stored one row a neuron
 * (`ffn_down_t`, as PowerInfer names it), so that an inactive neuron's row is never touched; those of SiLU models keep
 * llama.cpp's layout, which it can run.
 *
 * @throws ThermoclineError DATA_LOSS (a tensor is missing or of the wrong shape), UNIMPLEMENTED (a tensor belongs to a
 *   calculation without an engine)
 */
export function planTensors(
  available: ReadonlyMap<string, SafeTensor>,
  config: HfConfig,
  type: WeightType,
  folder: string,
): { planned: PlannedTensor[]; substitutions: Substitution[] } {
  const planned: PlannedTensor[] = [];
  const substitutions: Substitution[] = [];
  const used = new Set<string>();
  const take = (from: string, shape: readonly number[]): SafeTensor => {
    const source = available.get(from);
    if (source === undefined) {
      throw new ThermoclineError("DATA_LOSS", `${folder}: tensor ${from} is missing; get the model again`);
    }
    if (source.shape.length !== shape.length || shape.some((size, i) => source.shape[i] !== size)) {
      throw new ThermoclineError(
        "DATA_LOSS",
        `${folder}: tensor ${from} has the shape [${source.shape.join(", ")}] where config.json asks for ` +
          `[${shape.join(", ")}]; get the model again`,
      );
    }
    used.add(from);
    return source;
  };
  const vector = (from: string, name: string, length: number): void => {
    const spec = { name, type: WEIGHT_TYPES.f32, dims: [length] };
    planned.push({
      source: take(from, [length]),
      spec,
      type: "f32",
      arrangement: "as-is",
      rows: 1,
      cols: length,
    });
  };
  const matrix = (
    from: string,
    name: string,
    rows: number,
    cols: number,
    arrangement: Arrangement = "as-is",
  ): void => {
    const source = take(from, arrangement === "transpose" ? [cols, rows] : [rows, cols]);
    const dims = [cols, rows];
    const stored = storedTypeOf(name, dims, { matrices: type, predictors: type });
    if (stored.substitution !== null) substitutions.push(stored.substitution);
    const spec = { name, type: WEIGHT_TYPES[stored.type], dims };
    planned.push({ source, spec, type: stored.type, arrangement, rows, cols });
  };

  const { layers, embd, ff, heads, kvHeads, headDim, vocab } = config;
  matrix("model.embed_tokens.weight", "token_embd.weight", vocab, embd);
  for (let layer = 0; layer < layers; layer++) {
    const from = (part: string) => `model.layers.${layer}.${part}.weight`;
    const name = (part: string) => `blk.${layer}.${part}.weight`;
    vector(from("input_layernorm"), name("attn_norm"), embd);
    matrix(from("self_attn.q_proj"), name("attn_q"), heads * headDim, embd, "rotary");
    matrix(from("self_attn.k_proj"), name("attn_k"), kvHeads * headDim, embd, "rotary");
    matrix(from("self_attn.v_proj"), name("attn_v"), kvHeads * headDim, embd);
    matrix(from("self_attn.o_proj"), name("attn_output"), embd, heads * headDim);
    vector(from("post_attention_layernorm"), name("ffn_norm"), embd);
    matrix(from("mlp.gate_proj"), name("ffn_gate"), ff, embd);
    matrix(from("mlp.up_proj"), name("ffn_up"), ff, embd);
    if (config.activation === "silu") matrix(from("mlp.down_proj"), name("ffn_down"), embd, ff);
    else matrix(from("mlp.down_proj"), name("ffn_down_t"), ff, embd, "transpose");
  }
  vector("model.norm.weight", "output_norm.weight", embd);
  // Folders of tied models may hold the head all the same; it is the embedding.
  if (config.tiedEmbedding) used.add("lm_head.weight");
  else matrix("lm_head.weight", "output.weight", vocab, embd);

  for (const from of available.keys()) {
    if (!used.has(from) && !IGNORED.test(from)) {
      throw new ThermoclineError(
        "UNIMPLEMENTED",
        `${folder}: tensor ${from} belongs to no calculation the engines have; supported: LLaMA layers without biases`,
      );
    }
  }
  return { planned, substitutions };
}
