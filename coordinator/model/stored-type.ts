/** In which type a tensor is stored when a model is asked for in another. Decided here and nowhere else. */
import type { WeightType } from "../../native/index.js";
import { WEIGHT_TYPES } from "./tensor-types.js";

export interface TypeChoice {
  /** Of matrices, token embedding and output head included. */
  matrices: WeightType;
  /** Of the activation predictors' matrices. */
  predictors: WeightType;
}

/** The types that can be asked for, as the command line spells them. */
export const STORED_TYPES = Object.keys(WEIGHT_TYPES) as WeightType[];

/** A matrix whose rows are no whole blocks of the type asked for, and is stored in another. */
export interface Substitution {
  tensor: string;
  cols: number;
  wanted: WeightType;
  stored: WeightType;
}

const PREDICTOR = /^blk\.\d+\.fc[12]\.weight$/;

/**
 * Vectors are F32. Matrices are of the type asked for where their rows are whole blocks of it; else Q8_0 stands in for
 * the types with blocks of 256, and F16 where rows are no whole blocks of 32 either.
 *
 * @param dims elements along each dimension, the contiguous one first
 */
export function storedTypeOf(
  tensor: string,
  dims: readonly number[],
  choice: TypeChoice,
): { type: WeightType; substitution: Substitution | null } {
  if (dims.slice(1).every((dim) => dim === 1)) return { type: "f32", substitution: null };
  const wanted = PREDICTOR.test(tensor) ? choice.predictors : choice.matrices;
  const cols = dims[0] ?? 1;
  const candidates: readonly WeightType[] = [wanted, "q8_0", "f16"];
  const type = candidates.find((candidate) => cols % WEIGHT_TYPES[candidate].blockSize === 0) ?? "f16";
  return { type, substitution: type === wanted ? null : { tensor, cols, wanted, stored: type } };
}

/** One line for all tensors that were stored in the same other type for the same reason. */
export function describeSubstitutions(substitutions: readonly Substitution[]): string[] {
  const groups = new Map<string, Set<string>>();
  for (const { tensor, cols, wanted, stored } of substitutions) {
    const [asked, given] = [WEIGHT_TYPES[wanted], WEIGHT_TYPES[stored]];
    const why = `stored as ${given.name}, since rows of ${cols} elements are no whole ${asked.name} blocks of ${asked.blockSize}`;
    groups.set(why, (groups.get(why) ?? new Set()).add(tensor.replace(/^blk\.\d+\./, "blk.*.")));
  }
  return [...groups].map(([why, tensors]) => `${why}: ${[...tensors].join(", ")}`);
}

/**
 * What `general.file_type` says of a file whose matrices have this type. llama.cpp tells mixtures of K-quants apart as
 * S, M and L; these are the S, the ones with the fewest other types.
 */
export const FILE_TYPES: Readonly<Record<WeightType, number>> = {
  f32: 0,
  f16: 1,
  q4_0: 2,
  q8_0: 7,
  q4_k: 14,
  q5_k: 16,
  q6_k: 18,
  bf16: 32,
};

/** `general.quantization_version`: of ggml's block formats since their scales are halves. */
export const QUANTIZATION_VERSION = 2;
