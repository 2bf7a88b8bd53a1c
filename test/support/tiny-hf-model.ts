/** A tiny random LLaMA model as a Hugging Face folder. */
import { bf16, f32, type HfTensor, safetensorsFile, spmModel, writeFolder } from "./hf-folder.js";
import { Random } from "./random.js";

export const HF_CONFIG = {
  architectures: ["LlamaForCausalLM"],
  hidden_act: "relu",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 8,
  max_position_embeddings: 128,
  rms_norm_eps: 1e-5,
  rope_theta: 5000,
  tie_word_embeddings: true,
};

export type HfWeights = Map<string, { shape: number[]; values: Float32Array }>;

/** Multiples of 1/8 below 8: exact in every float type. */
export function hfWeights(config: typeof HF_CONFIG, seed: number): HfWeights {
  const random = new Random(seed);
  const weights: HfWeights = new Map();
  const add = (name: string, ...shape: number[]) => {
    const length = shape.reduce((product, size) => product * size, 1);
    weights.set(name, { shape, values: Float32Array.from({ length }, () => (random.integer(127) - 63) / 8) });
  };
  const { hidden_size: embd, intermediate_size: ff, vocab_size: vocab } = config;
  const headDim = embd / config.num_attention_heads;
  add("model.embed_tokens.weight", vocab, embd);
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const name = (part: string) => `model.layers.${layer}.${part}.weight`;
    add(name("input_layernorm"), embd);
    add(name("self_attn.q_proj"), embd, embd);
    add(name("self_attn.k_proj"), config.num_key_value_heads * headDim, embd);
    add(name("self_attn.v_proj"), config.num_key_value_heads * headDim, embd);
    add(name("self_attn.o_proj"), embd, embd);
    add(name("post_attention_layernorm"), embd);
    add(name("mlp.gate_proj"), ff, embd);
    add(name("mlp.up_proj"), ff, embd);
    add(name("mlp.down_proj"), embd, ff);
  }
  add("model.norm.weight", embd);
  if (!config.tie_word_embeddings) add("lm_head.weight", vocab, embd);
  return weights;
}

/** The tensors as BF16, norms as F32. */
export function hfTensors(weights: HfWeights): Record<string, HfTensor> {
  return Object.fromEntries(
    [...weights].map(([name, { shape, values }]) => [
      name,
      shape.length === 1 ? f32(values, shape) : bf16(values, shape),
    ]),
  );
}

/** Writes a whole folder; `files` replace those of the same name. */
export function writeHfModel(
  folder: string,
  config: typeof HF_CONFIG,
  weights: HfWeights,
  files: Readonly<Record<string, Uint8Array | object>> = {},
): string {
  return writeFolder(folder, {
    "config.json": config,
    "model.safetensors": safetensorsFile(hfTensors(weights)),
    "tokenizer.model": spmModel({}),
    ...files,
  });
}
