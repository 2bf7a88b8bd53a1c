/** What a synthetic model is asked to be, and the sizes that cannot be written. */
import type { WeightType } from "../../../native/index.js";
import { ThermoclineError } from "../../../proto/errors.js";
import { type GgufFormat, tensorTypeNumber, WEIGHT_TYPES } from "../tensor-types.js";
import { SCALED_TOGETHER } from "./encode.js";
import type { PresetName, SynthShape } from "./shapes.js";

export interface SynthOptions {
  /** Where the shape came from; null for one put together by hand. */
  preset: PresetName | null;
  shape: SynthShape;
  format: GgufFormat;
  /** Of matrices; vectors (norms) are always F32. */
  type: WeightType;
  activation: "relu" | "silu";
  /** Stores the down-projection one row a neuron (`ffn_down_t`) and not one row an output (`ffn_down`). */
  downByNeuron: boolean;
  /** Share of neurons that a token leaves inactive, over all layers; null with SiLU, where every one is active. */
  sparsity: number | null;
  /** Exponent of the power law that frequencies follow by rank; 0 makes all neurons alike. */
  skew: number;
  /** Hidden units and weight type of every layer's predictor, or null for none. */
  predictor: { rank: number; type: WeightType } | null;
  /** The same seed and options give the same bytes. */
  seed: bigint;
}

/** Gate rows of models with a predictor are sums of this many basis rows, so that Q4_0 holds them exactly. */
export const SUMMANDS = 3;

/** Weights that are set apart for the constant channel: a whole block of every type in use. */
export function reservedChannels({ activation, type, predictor }: SynthOptions): number {
  if (activation === "silu") return 0;
  return Math.max(SCALED_TOGETHER, blockSize(type), predictor === null ? 0 : blockSize(predictor.type));
}

/** Basis rows of a predictor of `rank` hidden units: each takes two, and the bias takes a block. */
export function basisRows({ rank, type }: { rank: number; type: WeightType }): number {
  return Math.floor((rank - biasUnits(type)) / 2);
}

/** Hidden units that hold a predictor's bias; only the first is ever other than zero. */
export function biasUnits(type: WeightType): number {
  return Math.max(SCALED_TOGETHER, blockSize(type));
}

/** @throws ThermoclineError INVALID_ARGUMENT for what contradicts itself or cannot be stored */
export function checkOptions(options: SynthOptions): void {
  const { shape, format, type, activation, sparsity, predictor } = options;
  const { embd, heads, kvHeads, ff } = shape;
  const block = Math.max(SCALED_TOGETHER, blockSize(type), blockSize(predictor?.type ?? type));
  for (const [option, size] of [
    ["--embd", embd],
    ["--ff", ff],
  ] as const) {
    if (size % block !== 0) throw invalid(`${option} is ${size}; give a multiple of ${block}`);
  }
  if (embd <= reservedChannels(options)) {
    throw invalid(`--embd is ${embd}, and ${reservedChannels(options)} channels hold the bias; give more`);
  }
  if (embd % heads !== 0 || (embd / heads) % 2 !== 0) {
    throw invalid(`--embd is ${embd}, no even multiple of the ${heads} heads; change --embd or --heads`);
  }
  if (heads % kvHeads !== 0) {
    throw invalid(
      `--kv-heads is ${kvHeads}, and ${heads} heads cannot share them evenly; give a divisor of it`,
    );
  }
  for (const each of [type, predictor?.type ?? type]) {
    if (tensorTypeNumber(format, WEIGHT_TYPES[each].name) === null) {
      throw invalid(`${format} files have no type ${each}; choose another type, or --format gguf`);
    }
  }
  if (activation === "silu") checkDense(options);
  else if (sparsity === null) throw invalid("a ReLU model needs a sparsity; give --sparsity");
  if (predictor !== null) {
    const least = biasUnits(predictor.type) + 2 * SUMMANDS;
    if (predictor.rank % block !== 0 || predictor.rank < least) {
      throw invalid(
        `--predictor-rank is ${predictor.rank}; give a multiple of ${block} from ${2 * block} on, or 0`,
      );
    }
  }
}

function checkDense({ format, sparsity, predictor }: SynthOptions): void {
  if (format === "pwri")
    throw invalid("--format pwri implies ReLU; choose --activation relu or --format gguf");
  if (sparsity !== null)
    throw invalid("--sparsity means nothing to SiLU, which leaves no neuron inactive; leave it out");
  if (predictor !== null)
    throw invalid("--predictor-rank means nothing to SiLU; leave it out or choose --activation relu");
}

function blockSize(type: WeightType): number {
  return WEIGHT_TYPES[type].blockSize;
}

function invalid(message: string): ThermoclineError {
  return new ThermoclineError("INVALID_ARGUMENT", message);
}
