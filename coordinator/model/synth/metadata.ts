/** What a synthetic model's file says about itself: under llama.cpp's keys, and that it is synthetic under our own. */
import { ACTIVATION_KEY } from "../activation.js";
import type { GgufValue } from "../gguf-metadata.js";
import { FILE_TYPES, QUANTIZATION_VERSION } from "../stored-type.js";
import type { SynthOptions } from "./options.js";
import { PRESETS } from "./shapes.js";
import { syntheticVocabulary } from "./vocabulary.js";

/** True in every synthetic model. The others beside it tell how it was made. */
export const SYNTHETIC_KEY = "thermocline.synthetic";

const RMS_EPSILON = 1e-5;
const ROPE_BASE = 10_000;

/** In the file's order; the vocabulary comes last. @throws ThermoclineError see {@link syntheticVocabulary} */
export function syntheticMetadata(options: SynthOptions): [string, GgufValue][] {
  const { shape, type, format, activation, sparsity, skew, predictor, seed, preset } = options;
  const string = (value: string): GgufValue => ({ type: "string", value });
  const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
  const float32 = (value: number): GgufValue => ({ type: "float32", value });
  const headDim = shape.embd / shape.heads;
  return [
    ["general.architecture", string("llama")],
    ["general.type", string("model")],
    ["general.name", string(nameOf(options))],
    ["general.description", string(descriptionOf(options))],
    ["general.file_type", uint32(FILE_TYPES[type])],
    ["general.quantization_version", uint32(QUANTIZATION_VERSION)],
    [SYNTHETIC_KEY, { type: "bool", value: true }],
    ...(preset === null ? [] : [entry("preset", string(preset))]),
    ...(sparsity === null ? [] : [entry("sparsity", float32(sparsity)), entry("skew", float32(skew))]),
    entry("predictor_rank", uint32(predictor?.rank ?? 0)),
    entry("seed", { type: "uint64", value: seed }),
    ["llama.block_count", uint32(shape.layers)],
    ["llama.context_length", uint32(shape.contextLength)],
    ["llama.embedding_length", uint32(shape.embd)],
    ["llama.feed_forward_length", uint32(shape.ff)],
    ["llama.attention.head_count", uint32(shape.heads)],
    ["llama.attention.head_count_kv", uint32(shape.kvHeads)],
    ["llama.attention.key_length", uint32(headDim)],
    ["llama.attention.value_length", uint32(headDim)],
    ["llama.attention.layer_norm_rms_epsilon", float32(RMS_EPSILON)],
    ["llama.rope.dimension_count", uint32(headDim)],
    ["llama.rope.freq_base", float32(ROPE_BASE)],
    ["llama.vocab_size", uint32(shape.vocab)],
    [ACTIVATION_KEY, string(activation)],
    ...(format === "pwri" ? [["powerinfer.sparse_threshold", float32(0)] as [string, GgufValue]] : []),
    ...syntheticVocabulary(shape.vocab),
  ];
}

function entry(name: string, value: GgufValue): [string, GgufValue] {
  return [`${SYNTHETIC_KEY}.${name}`, value];
}

function nameOf({ preset, activation, sparsity }: SynthOptions): string {
  const kind = sparsity === null ? "dense" : `${percent(sparsity)} sparse`;
  return `synthetic ${preset ?? "model"}, ${activation}, ${kind}`;
}

function descriptionOf({ preset, sparsity, skew, predictor }: SynthOptions): string {
  const note = preset === null ? null : PRESETS[preset].note;
  return [
    "Random weights in the shape of a language model, to measure speed with; its text means nothing.",
    ...(note === null ? [] : [`${note}.`]),
    sparsity === null
      ? "Every neuron is active for every token."
      : `Set to leave ${percent(sparsity)} of its neurons inactive for a token, with frequencies that fall as the ` +
        `power ${skew} of their rank.`,
    ...(predictor === null ? [] : [`Its predictors of ${predictor.rank} hidden units know what fires.`]),
  ].join(" ");
}

function percent(share: number): string {
  return `${Number((100 * share).toFixed(2))} %`;
}
