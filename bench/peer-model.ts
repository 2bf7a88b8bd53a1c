/** Which file the peer computes with, and whether comparing with it is fair. */
import { loadModel } from "../coordinator/model/load-model.js";
import type { Model } from "../coordinator/model/model.js";
import { bytesOf, WEIGHT_TYPES } from "../coordinator/model/tensor-types.js";
import { ThermoclineError } from "../proto/errors.js";

export interface PeerModel {
  path: string;
  /** Weights that a dense engine reads for a token. */
  bytesPerToken: number;
}

/** What decides how much there is to compute. */
const COMPARED = ["layers", "embd", "heads", "kvHeads", "headDim", "ff", "vocab"] as const;

/**
 * @param given null takes our own file, where llama.cpp computes the same with it
 * @throws ThermoclineError INVALID_ARGUMENT when it does not, or when the two files differ in shape or weight types
 */
export async function choosePeerModel(modelPath: string, given: string | null): Promise<PeerModel> {
  const ours = await loadModel(modelPath, { activation: null });
  const theirs = given === null ? ours : await loadModel(given, { activation: null });
  const refusal = whyLlamaCppCannot(theirs);
  if (refusal !== null) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `llama.cpp cannot compute ${theirs.path}: ${refusal}; give --peer-model a SiLU GGUF of the same shape and type`,
    );
  }
  const difference = differenceBetween(ours, theirs);
  if (difference !== null) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `--peer-model is no match for --model: ${difference}; give a GGUF of the same shape and type`,
    );
  }
  return { path: theirs.path, bytesPerToken: denseBytesPerToken(theirs) };
}

function whyLlamaCppCannot({ file, shape, downTransposed }: Model): string | null {
  if (file.format === "pwri") return "it is a PWRI file";
  if (shape.activation !== "silu") return `its activation is ${shape.activation}`;
  return downTransposed ? "its down-projections are transposed" : null;
}

/** The first thing in which two models differ that their speed depends on, in words; null when there is none. */
export function differenceBetween(ours: Model, theirs: Model): string | null {
  for (const key of COMPARED) {
    if (ours.shape[key] !== theirs.shape[key])
      return `${key} is ${theirs.shape[key]} and not ${ours.shape[key]}`;
  }
  const types = new Map(ours.tensors.map(({ name, type }) => [plainName(name), type]));
  for (const { name, type, rows } of theirs.tensors) {
    const own = types.get(plainName(name));
    // Vectors are small, and files differ in which of them they have.
    if (rows > 1 && own !== type) return `${name} is ${type} and not ${own ?? "there"}`;
  }
  return null;
}

/** Tensors by one name, however they are laid out. */
function plainName(name: string): string {
  return name.replace("ffn_down_t", "ffn_down");
}

/** Everything but the embedding, of which one row is read, unless it is the head as well. */
export function denseBytesPerToken({ tensors }: Model): number {
  const tied = !tensors.some(({ name }) => name === "output.weight");
  return tensors
    .filter(({ name }) => tied || name !== "token_embd.weight")
    .reduce((sum, { type, rows, cols }) => sum + bytesOf(WEIGHT_TYPES[type], rows * cols), 0);
}
