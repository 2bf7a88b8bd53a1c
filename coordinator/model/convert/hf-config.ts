/** Reads a Hugging Face `config.json` of the LLaMA family. */
import { join } from "node:path";
import { z } from "zod";
import type { Activation } from "../../../native/index.js";
import { ThermoclineError } from "../../../proto/errors.js";
import { isReluThreshold } from "../activation.js";
import { readJsonFile } from "../json-file.js";

/** What of a config decides the model, with the family's defaults filled in. */
export interface HfConfig {
  layers: number;
  embd: number;
  ff: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  vocab: number;
  contextLength: number;
  rmsEpsilon: number;
  ropeTheta: number;
  /** Linear stretching of positions; 1 for none. */
  ropeFactor: number;
  tiedEmbedding: boolean;
  activation: Activation;
  /** Gates below it count as 0; 0 for plain ReLU and SiLU. */
  reluThreshold: number;
  /** null where the config does not say. */
  bosId: number | null;
  eosId: number | null;
}

const ARCHITECTURES = ["LlamaForCausalLM", "MistralForCausalLM"];
const FATRELU = "fatrelu";
/** ProSparse's (Song et al. 2024), LLaMA but for this activation. Others go by the same name and differ in more. */
const FATRELU_ARCHITECTURE = "SparseLlamaForCausalLM";
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
  relu: "relu",
  [FATRELU]: "relu",
  silu: "silu",
  swish: "silu",
};

const size = z
  .int()
  .positive()
  .max(2 ** 31 - 1);
const tokenId = z.union([z.int(), z.array(z.int()).min(1)]).nullish();
const rope = z.looseObject({
  type: z.string().optional(),
  rope_type: z.string().optional(),
  factor: z.number().positive().nullish(),
  rope_theta: z.number().positive().optional(),
});
const Config = z.looseObject({
  architectures: z.array(z.string()).min(1),
  hidden_act: z.string().default("silu"),
  hidden_act_param: z.number().nullish(),
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  vocab_size: size,
  max_position_embeddings: size.default(2048),
  rms_norm_eps: z.number().positive().default(1e-6),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: rope.nullish(),
  rope_parameters: rope.nullish(),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
  sliding_window: z.int().nullish(),
  partial_rotary_factor: z.number().nullish(),
  bos_token_id: tokenId,
  eos_token_id: tokenId,
});

/**
 * @throws ThermoclineError NOT_FOUND (no config.json), DATA_LOSS (not what a config looks like), UNIMPLEMENTED (an
 *   architecture, activation or variant without an engine)
 */
export async function readHfConfig(folder: string): Promise<HfConfig> {
  const path = join(folder, "config.json");
  const config = await readJsonFile(path, Config);
  if (config === null) {
    throw new ThermoclineError(
      "NOT_FOUND",
      `${path}: there is no such file; give a Hugging Face model folder`,
    );
  }
  refuseVariants(path, config);
  const first = (id: z.infer<typeof tokenId>) => (Array.isArray(id) ? (id[0] ?? null) : (id ?? null));
  return {
    layers: config.num_hidden_layers,
    embd: config.hidden_size,
    ff: config.intermediate_size,
    heads: config.num_attention_heads,
    kvHeads: config.num_key_value_heads ?? config.num_attention_heads,
    headDim: config.head_dim ?? config.hidden_size / config.num_attention_heads,
    vocab: config.vocab_size,
    contextLength: config.max_position_embeddings,
    rmsEpsilon: config.rms_norm_eps,
    ropeTheta: config.rope_theta ?? config.rope_parameters?.rope_theta ?? 10_000,
    ropeFactor: ropeFactor(path, config),
    tiedEmbedding: config.tie_word_embeddings,
    activation: activationOf(path, config.hidden_act),
    reluThreshold: config.hidden_act === FATRELU ? thresholdOf(path, config.hidden_act_param ?? null) : 0,
    bosId: first(config.bos_token_id),
    eosId: first(config.eos_token_id),
  };
}

function refuseVariants(path: string, config: z.infer<typeof Config>): void {
  const architecture = config.architectures.join(", ");
  const supported = config.hidden_act === FATRELU ? [...ARCHITECTURES, FATRELU_ARCHITECTURE] : ARCHITECTURES;
  if (!config.architectures.some((name) => supported.includes(name))) {
    throw unimplemented(path, `the architecture ${architecture}`, supported.join(", "));
  }
  if (config.attention_bias || config.mlp_bias) {
    throw unimplemented(path, "attention_bias or mlp_bias true", "models without biases");
  }
  if (config.sliding_window != null && config.sliding_window < config.max_position_embeddings) {
    throw unimplemented(path, `sliding_window ${config.sliding_window}`, "attention over the whole context");
  }
  if (config.partial_rotary_factor != null && config.partial_rotary_factor !== 1) {
    throw unimplemented(path, `partial_rotary_factor ${config.partial_rotary_factor}`, "1");
  }
  const { hidden_size: embd, num_attention_heads: heads } = config;
  const headDim = config.head_dim ?? embd / heads;
  if (!Number.isInteger(headDim) || headDim % 2 !== 0) {
    throw unimplemented(path, `${heads} heads of a width of ${embd}`, "heads of an even number of elements");
  }
}

function ropeFactor(path: string, config: z.infer<typeof Config>): number {
  const scaling = config.rope_scaling ?? config.rope_parameters;
  const type = scaling?.rope_type ?? scaling?.type ?? "default";
  if (type === "default") return 1;
  if (type === "linear" && scaling?.factor != null) return scaling.factor;
  throw unimplemented(path, `rotary scaling of type ${type}`, "none and linear");
}

function activationOf(path: string, name: string): Activation {
  const activation = ACTIVATIONS[name];
  if (activation !== undefined) return activation;
  throw unimplemented(path, `hidden_act "${name}"`, Object.keys(ACTIVATIONS).join(", "));
}

/** Asked of FATReLU alone: MiniCPM's configs have the parameter beside SiLU, where it means nothing. */
function thresholdOf(path: string, parameter: number | null): number {
  if (parameter !== null && isReluThreshold(parameter)) return parameter;
  throw new ThermoclineError(
    "DATA_LOSS",
    `${path}: hidden_act is "${FATRELU}", and its threshold hidden_act_param is ${parameter ?? "missing"} where 0 or a ` +
      "positive number belongs; get the model again",
  );
}

function unimplemented(path: string, what: string, supported: string): ThermoclineError {
  return new ThermoclineError("UNIMPLEMENTED", `${path}: ${what} has no engine yet; supported: ${supported}`);
}
