/** Converts a Hugging Face model folder of the LLaMA family to a GGUF file. */
import { basename, resolve } from "node:path";
import type { WeightType } from "../../../native/index.js";
import { ACTIVATION_KEY, RELU_THRESHOLD_KEY } from "../activation.js";
import type { GgufValue } from "../gguf-metadata.js";
import { GgufWriter } from "../gguf-writer.js";
import { type ConversionWatch, type TensorPiece, writeConverted } from "../row-conversion.js";
import { floatTypeOf, Safetensors } from "../safetensors.js";
import { FILE_TYPES, QUANTIZATION_VERSION, type Substitution } from "../stored-type.js";
import { type HfConfig, readHfConfig } from "./hf-config.js";
import { type PlannedTensor, planTensors } from "./tensor-plan.js";
import { readRows } from "./tensor-rows.js";
import { vocabularyMetadata } from "./vocabulary.js";

export interface ConvertOptions extends ConversionWatch {
  /** Of matrices, see {@link storedTypeOf}; vectors (norms) are always F32. */
  type: WeightType;
  /** Whether an existing file may be replaced. */
  replace: boolean;
  /** Texts to add under {@link TEXT_KEYS}. */
  metadata: ReadonlyMap<string, string>;
}

export interface Converted {
  fileBytes: number;
  substitutions: readonly Substitution[];
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

/**
 * Reads and writes tensor by tensor; the file appears under its name when it is whole.
 *
 * @throws ThermoclineError for whatever is missing, damaged or not supported in the folder, see the functions called
 */
export async function convertFolder(
  folder: string,
  out: string,
  options: ConvertOptions,
): Promise<Converted> {
  const config = await readHfConfig(folder);
  const metadata = [...describe(folder, config, options), ...(await vocabularyMetadata(folder, config))];
  const safetensors = await Safetensors.openFolder(folder);
  try {
    const { planned, substitutions } = planTensors(safetensors.tensors, config, options.type, folder);
    const header = {
      format: "gguf" as const,
      version: 3 as const,
      metadata,
      tensors: planned.map((p) => p.spec),
    };
    const writer = await GgufWriter.create(out, header, { replace: options.replace });
    try {
      await writeConverted(writer, readPieces(safetensors, planned, config.headDim), out, options);
      await writer.finish();
      return { fileBytes: writer.fileBytes, substitutions };
    } catch (error) {
      await writer.discard();
      throw error;
    }
  } finally {
    await safetensors.close();
  }
}

const FLOATS = { F32: "f32", F16: "f16", BF16: "bf16" } as const;

async function* readPieces(
  safetensors: Safetensors,
  planned: readonly PlannedTensor[],
  headDim: number,
): AsyncGenerator<TensorPiece> {
  for (const tensor of planned) {
    const conversion = { from: FLOATS[floatTypeOf(tensor.source)], to: tensor.type, cols: tensor.cols };
    for await (const bytes of readRows(safetensors, tensor, headDim)) {
      yield { tensor: tensor.spec.name, bytes, conversion };
    }
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
  if (config.reluThreshold > 0) float32(RELU_THRESHOLD_KEY, config.reluThreshold);
  return metadata;
}
