/** A model's shape, read from a file's metadata under llama.cpp's keys. */
import type { ModelShape } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Architecture } from "./architecture.js";
import type { GgufFile } from "./gguf.js";
import { abbreviate } from "./gguf-metadata.js";

/** PowerInfer's key: the logit from which its predictors take a neuron for active; 0 where a file has none. */
export const PREDICTOR_THRESHOLD_KEY = "powerinfer.sparse_threshold";

const MAX_SIZE = 2 ** 31 - 1;

const NORM_EPSILON_KEYS = { rms: "layer_norm_rms_epsilon", layer: "layer_norm_epsilon" } as const;

/**
 * Keys (behind the architecture's prefix) that change what a layer computes in ways the engines do not have. Zero
 * means off in all of them.
 */
const UNSUPPORTED_KEYS = [
  "expert_count",
  "attention.sliding_window",
  "attention.clamp_kqv",
  "attention.max_alibi_bias",
  "attention.scale",
  "attn_logit_softcapping",
  "final_logit_softcapping",
  "embedding_scale",
  "residual_scale",
  "logit_scale",
];

/**
 * Everything but the activation and the vocabulary's size, which only the embedding's rows tell for certain.
 *
 * @throws ThermoclineError DATA_LOSS for missing or contradictory sizes, UNIMPLEMENTED for a calculation the engines
 *   do not have
 */
export function readShape(
  file: GgufFile,
  { name: architecture, norm, ropePairs }: Architecture,
): Omit<ModelShape, "activation" | "reluThreshold" | "vocab"> {
  const { metadata } = file;
  for (const key of UNSUPPORTED_KEYS) refuse(file, `${architecture}.${key}`);

  const size = (key: string, otherwise: number | null): number => {
    const name = `${architecture}.${key}`;
    const value = otherwise === null ? metadata.integer(name) : metadata.integer(name, otherwise);
    if (value >= 1 && value <= MAX_SIZE) return value;
    throw contradiction(file, `${name} is ${value} where 1 to ${MAX_SIZE} belongs`);
  };
  const embd = size("embedding_length", null);
  const heads = size("attention.head_count", null);
  const kvHeads = size("attention.head_count_kv", heads);
  const headDim = size("attention.key_length", Math.max(1, Math.floor(embd / heads)));
  const valueLength = size("attention.value_length", headDim);
  const ropeDims = size("rope.dimension_count", headDim);
  if (!metadata.has(`${architecture}.attention.key_length`) && embd % heads !== 0) {
    throw contradiction(file, `the width ${embd} is no multiple of the ${heads} heads`);
  }
  if (heads % kvHeads !== 0) {
    throw contradiction(file, `${heads} heads cannot share ${kvHeads} key/value heads evenly`);
  }
  if (ropeDims % 2 !== 0 || ropeDims > headDim) {
    throw contradiction(file, `${ropeDims} rotated dimensions do not fit heads of ${headDim}`);
  }
  if (valueLength !== headDim) {
    throw new ThermoclineError(
      "UNIMPLEMENTED",
      `${file.path}: values of ${valueLength} beside keys of ${headDim} elements a head are not supported yet`,
    );
  }
  return {
    layers: size("block_count", null),
    embd,
    heads,
    kvHeads,
    headDim,
    ff: size("feed_forward_length", null),
    norm,
    normEpsilon: positive(file, `${architecture}.attention.${NORM_EPSILON_KEYS[norm]}`, null),
    ropeBase: positive(file, `${architecture}.rope.freq_base`, 10_000),
    ropeScale: 1 / ropeFactor(file, architecture),
    ropeDims,
    ropePairs,
    predictorThreshold: metadata.number(PREDICTOR_THRESHOLD_KEY, 0),
  };
}

/** Context stretched by this factor; linear scaling divides positions by it. */
function ropeFactor(file: GgufFile, architecture: string): number {
  const { metadata } = file;
  const scaling = metadata.string(`${architecture}.rope.scaling.type`, "linear");
  if (scaling === "none") return 1;
  if (scaling !== "linear") {
    throw new ThermoclineError(
      "UNIMPLEMENTED",
      `${file.path}: rotary scaling of type ${abbreviate(scaling)} is not supported yet; supported: none, linear`,
    );
  }
  for (const key of [`${architecture}.rope.scaling.factor`, `${architecture}.rope.scale_linear`]) {
    // llama.cpp's converters write 0 for "no scaling".
    if (metadata.number(key, 0) !== 0) return positive(file, key, null);
  }
  return 1;
}

function positive(file: GgufFile, key: string, otherwise: number | null): number {
  const value = otherwise === null ? file.metadata.number(key) : file.metadata.number(key, otherwise);
  if (value > 0) return value;
  throw contradiction(file, `${key} is ${value} where a positive number belongs`);
}

function refuse(file: GgufFile, key: string): void {
  if (file.metadata.number(key, 0) === 0) return;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${file.path}: ${key} is ${file.metadata.number(key)}, which no engine can compute yet; use a model without it`,
  );
}

function contradiction(file: GgufFile, what: string): ThermoclineError {
  return new ThermoclineError("DATA_LOSS", `${file.path}: ${what}; convert the model again`);
}
