/** Converts a Hugging Face model folder of the LLaMA family to a GGUF file. */
import { basename, resolve } from "node:path";
import type { WeightType } from "../../../native/index.js";
import { ThermoclineError } from "../../../proto/errors.js";
import { ACTIVATION_KEY } from "../activation.js";
import type { GgufValue } from "../gguf-metadata.js";
import { GgufWriter } from "../gguf-writer.js";
import { Safetensors } from "../safetensors.js";
import { WEIGHT_TYPES } from "../tensor-types.js";
import { type HfConfig, readHfConfig } from "./hf-config.js";
import { quantize } from "./quantize.js";
import { planTensors } from "./tensor-plan.js";
import { readRows } from "./tensor-rows.js";
import { vocabularyMetadata } from "./vocabulary.js";

export interface ConvertOptions {
  /** Of matrices; vectors (norms) are always F32. */
  type: WeightType;
  /** Whether an existing file may be replaced. */
  replace: boolean;
  /** Texts to add under {@link TEXT_KEYS}. */
  metadata: ReadonlyMap<string, string>;
  onProgress: (bytesDone: number, bytesTotal: number) => void;
  /** Aborting ends the conversion with a CANCELLED error and leaves no file behind. */
  signal: AbortSignal | null;
}

/** Keys of GGUF's `general` section that hold free text. */
export const TEXT_KEYS: readonly string[] = [
  "general.name",
  "general.author",
  "general.version",
  "general.organization",
  "general.description",
  "general.license",
  "general.license.link",
  "general.size_label",
  "general.url",
  "general.source.url",
];

/** What `general.file_type` says of a file whose matrices have this type. */
const FILE_TYPES: Readonly<Record<WeightType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q8_0: 7,
  // llama.cpp tells mixtures of K-quants apart as S, M and L; S is the one with the fewest other types.
  q4_k: 14,
  q5_k: 16,
  q6_k: 18,
  bf16: 32,
};
/** The version of ggml's block formats since their scales are halves. */
const QUANTIZATION_VERSION = 2;

/** A matrix element beyond this becomes infinite: a half ends at 65504, and scales are halves. */
const LARGEST: Readonly<Record<WeightType, number>> = {
  f32: Number.MAX_VALUE,
  f16: 65_504,
  q8_0: 65_504 * 127,
  q4_0: 65_504 * 8,
  bf16: Number.MAX_VALUE,
  q4_k: 0,
  q5_k: 0,
  q6_k: 0,
};

/**
 * Reads and writes tensor by tensor; the file appears under its name when it is whole.
 *
 * @returns the file's size in bytes
 * @throws ThermoclineError for whatever is missing, damaged or not supported in the folder, see the functions called
 */
export async function convertFolder(folder: string, out: string, options: ConvertOptions): Promise<number> {
  const { type, replace, onProgress, signal } = options;
  const config = await readHfConfig(folder);
  const metadata = [...describe(folder, config, options), ...(await vocabularyMetadata(folder, config))];
  const safetensors = await Safetensors.openFolder(folder);
  try {
    const planned = planTensors(safetensors.tensors, config, type, folder);
    const header = {
      format: "gguf" as const,
      version: 3 as const,
      metadata,
      tensors: planned.map((p) => p.spec),
    };
    const writer = await GgufWriter.create(out, header, { replace });
    try {
      let bytesDone = 0;
      for (const tensor of planned) {
        for await (const values of readRows(safetensors, tensor, config.headDim)) {
          if (signal?.aborted === true) {
            throw new ThermoclineError(
              "CANCELLED",
              `${out}: the conversion was interrupted; nothing was written`,
            );
          }
          checkRange(tensor.spec.name, tensor.type, values);
          const bytes = quantize(tensor.type, values);
          await writer.write(tensor.spec.name, bytes);
          bytesDone += bytes.length;
          onProgress(bytesDone, writer.fileBytes);
        }
      }
      await writer.finish();
      return writer.fileBytes;
    } catch (error) {
      await writer.discard();
      throw error;
    }
  } finally {
    await safetensors.close();
  }
}

/** Everything but the vocabulary. */
function describe(folder: string, config: HfConfig, options: ConvertOptions): Map<string, GgufValue> {
  const metadata = new Map<string, GgufValue>();
  const string = (key: string, value: string) => metadata.set(key, { type: "string", value });
  const uint32 = (key: string, value: number) => metadata.set(key, { type: "uint32", value });
  const float32 = (key: string, value: number) => metadata.set(key, { type: "float32", value });
  string("general.architecture", "llama");
  string("general.type", "model");
  string("general.name", basename(resolve(folder)));
  for (const [key, text] of options.metadata) string(key, text);
  uint32("general.file_type", FILE_TYPES[options.type]);
  uint32("general.quantization_version", QUANTIZATION_VERSION);
  uint32("llama.block_count", config.layers);
  uint32("llama.context_length", config.contextLength);
  uint32("llama.embedding_length", config.embd);
  uint32("llama.feed_forward_length", config.ff);
  uint32("llama.attention.head_count", config.heads);
  uint32("llama.attention.head_count_kv", config.kvHeads);
  uint32("llama.attention.key_length", config.headDim);
  uint32("llama.attention.value_length", config.headDim);
  float32("llama.attention.layer_norm_rms_epsilon", config.rmsEpsilon);
  uint32("llama.rope.dimension_count", config.headDim);
  float32("llama.rope.freq_base", config.ropeTheta);
  if (config.ropeFactor !== 1) {
    string("llama.rope.scaling.type", "linear");
    float32("llama.rope.scaling.factor", config.ropeFactor);
  }
  uint32("llama.vocab_size", config.vocab);
  string(ACTIVATION_KEY, config.activation);
  return metadata;
}

/** Infinite or undefined weights would go unnoticed until the model talks nonsense. */
function checkRange(name: string, type: WeightType, values: Float32Array): void {
  const largest = LARGEST[type];
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (Math.abs(value) <= largest) continue;
    throw Number.isFinite(value)
      ? new ThermoclineError(
          "INVALID_ARGUMENT",
          `tensor ${name} holds ${value}, beyond the ${largest} that ${WEIGHT_TYPES[type].name} reaches; ` +
            "choose --type f32",
        )
      : new ThermoclineError(
          "DATA_LOSS",
          `tensor ${name} holds ${value}, which is no weight; get the model again`,
        );
  }
}
