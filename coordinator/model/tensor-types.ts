/** How ggml stores tensor elements: every type a GGUF file can name, and those this system computes with. */
import type { WeightType } from "../../native/index.js";

export interface TensorType {
  /** As GGUF tools spell it, such as `Q4_K`. */
  name: string;
  /** Elements that share a block; a row is a whole number of blocks. */
  blockSize: number;
  blockBytes: number;
  /** The engines' name for it, or null when they have no kernels for it. */
  weightType: WeightType | null;
}

function type(
  name: string,
  blockSize: number,
  blockBytes: number,
  weightType: WeightType | null = null,
): TensorType {
  return { name, blockSize, blockBytes, weightType };
}

/** How the engines' weight types are stored. */
export const WEIGHT_TYPES: Readonly<Record<WeightType, TensorType>> = {
  f32: type("F32", 1, 4, "f32"),
  f16: type("F16", 1, 2, "f16"),
  q8_0: type("Q8_0", 32, 34, "q8_0"),
  q4_0: type("Q4_0", 32, 18, "q4_0"),
  bf16: type("BF16", 1, 2, "bf16"),
  q4_k: type("Q4_K", 256, 144, "q4_k"),
  q5_k: type("Q5_K", 256, 176, "q5_k"),
  q6_k: type("Q6_K", 256, 210, "q6_k"),
};

/** Types by their number in a GGUF file. Missing numbers belonged to formats ggml has withdrawn. */
const GGUF_TYPES: ReadonlyMap<number, TensorType> = new Map([
  [0, WEIGHT_TYPES.f32],
  [1, WEIGHT_TYPES.f16],
  [2, WEIGHT_TYPES.q4_0],
  [3, type("Q4_1", 32, 20)],
  [6, type("Q5_0", 32, 22)],
  [7, type("Q5_1", 32, 24)],
  [8, WEIGHT_TYPES.q8_0],
  [9, type("Q8_1", 32, 36)],
  [10, type("Q2_K", 256, 84)],
  [11, type("Q3_K", 256, 110)],
  [12, WEIGHT_TYPES.q4_k],
  [13, WEIGHT_TYPES.q5_k],
  [14, WEIGHT_TYPES.q6_k],
  [15, type("Q8_K", 256, 292)],
  [16, type("IQ2_XXS", 256, 66)],
  [17, type("IQ2_XS", 256, 74)],
  [18, type("IQ3_XXS", 256, 98)],
  [19, type("IQ1_S", 256, 50)],
  [20, type("IQ4_NL", 32, 18)],
  [21, type("IQ3_S", 256, 110)],
  [22, type("IQ2_S", 256, 82)],
  [23, type("IQ4_XS", 256, 136)],
  [24, type("I8", 1, 1)],
  [25, type("I16", 1, 2)],
  [26, type("I32", 1, 4)],
  [27, type("I64", 1, 8)],
  [28, type("F64", 1, 8)],
  [29, type("IQ1_M", 256, 56)],
  [30, WEIGHT_TYPES.bf16],
  [34, type("TQ1_0", 256, 54)],
  [35, type("TQ2_0", 256, 66)],
  [39, type("MXFP4", 32, 17)],
  [40, type("NVFP4", 64, 36)],
  [41, type("Q1_0", 128, 18)],
  [42, type("Q2_0", 64, 18)],
]);

/** PowerInfer left ggml before the IQ types came; its integers have the numbers that those took. */
const PWRI_TYPES: ReadonlyMap<number, TensorType> = new Map([
  ...[...GGUF_TYPES].filter(([number]) => number < 16),
  [16, type("I8", 1, 1)],
  [17, type("I16", 1, 2)],
  [18, type("I32", 1, 4)],
]);

/** A magic of four bytes decides how type numbers are read: llama.cpp's `GGUF` or PowerInfer's `PWRI`. */
export type GgufFormat = "gguf" | "pwri";

function typesOf(format: GgufFormat): ReadonlyMap<number, TensorType> {
  return format === "pwri" ? PWRI_TYPES : GGUF_TYPES;
}

/** The type a file of this format means by a number, or null for a number it does not define. */
export function tensorTypeOf(format: GgufFormat, number: number): TensorType | null {
  return typesOf(format).get(number) ?? null;
}

/** The number of a type in files of this format, or null when the format has no such type. */
export function tensorTypeNumber(format: GgufFormat, name: string): number | null {
  for (const [number, candidate] of typesOf(format)) {
    if (candidate.name === name) return number;
  }
  return null;
}

/** Names of the types engines compute with, for messages. */
export const SUPPORTED_TYPE_NAMES = Object.values(WEIGHT_TYPES)
  .map((supported) => supported.name)
  .join(", ");

/** Bytes of `elements` elements, a multiple of the type's block size. */
export function bytesOf(tensorType: TensorType, elements: number): number {
  return (elements / tensorType.blockSize) * tensorType.blockBytes;
}
