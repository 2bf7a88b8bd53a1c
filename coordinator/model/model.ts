/** A model as the rest of the coordinator sees it: shape, tensors, and where its vocabulary is. */
import type { ModelShape, TensorRef } from "../../native/index.js";
import type { GgufFile } from "./gguf.js";

export interface Model {
  /** Absolute path of the GGUF or PWRI file. */
  path: string;
  fileBytes: number;
  /** `general.name`, else the file's base name. */
  name: string;
  /** `general.architecture`, such as "llama". */
  architecture: string;
  shape: ModelShape;
  trainedContextLength: number;
  /** Whether any layer has predictor tensors (`fc1`, `fc2`); one without computes every gate. */
  hasPredictor: boolean;
  /** Whether down-projections are stored one row a neuron (`ffn_down_t`) in every layer. */
  downTransposed: boolean;
  parameters: number;
  /** Every tensor an engine may read, under its GGUF name. */
  tensors: TensorRef[];
  /** Header metadata, for the tokenizer. */
  file: GgufFile;
}
