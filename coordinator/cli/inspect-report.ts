/** What `thermocline inspect` says about a model file, as plain data. */
import { ThermoclineError } from "../../proto/errors.js";
import { type ActivationChoice, decideActivation } from "../model/activation.js";
import type { GgufFile } from "../model/gguf.js";
import type { GgufValue, GgufValueType } from "../model/gguf-metadata.js";
import { modelOf } from "../model/load-model.js";
import type { Model } from "../model/model.js";
import { SYNTHETIC_KEY } from "../model/synth/metadata.js";
import { loadTokenizer } from "../model/tokenizer/load-tokenizer.js";

/** Elements of an array that are shown. */
const SHOWN_ELEMENTS = 6;

type Scalar = string | number | boolean;

export type ReportedValue =
  | { type: Exclude<GgufValueType, "array">; value: Scalar }
  | { type: "array"; of: GgufValueType; length: number; first: ReportedElement[] };
export type ReportedElement = Scalar | { of: GgufValueType; length: number };

export interface ReportedTensor {
  name: string;
  /** Layer it belongs to, or null outside the layers. */
  layer: number | null;
  type: string;
  dims: readonly number[];
  offset: number;
  bytes: number;
}

export interface TypeTotal {
  type: string;
  tensors: number;
  bytes: number;
}

export interface InspectReport {
  path: string;
  fileBytes: number;
  format: "gguf" | "pwri";
  version: number;
  alignment: number;
  dataOffset: number;
  name: string;
  /** Whether its weights are random ones that `thermocline synth` wrote. */
  synthetic: boolean;
  architecture: string;
  /** null when the file names an activation that no engine has. */
  activation: ActivationChoice | null;
  /** null when the file cannot be run. */
  model: Pick<
    Model,
    "shape" | "trainedContextLength" | "parameters" | "hasPredictor" | "downTransposed"
  > | null;
  /** Why the file cannot be run, or null when it can. */
  whyNot: string | null;
  metadata: Record<string, ReportedValue>;
  tensors: ReportedTensor[];
  tensorBytes: number;
  types: TypeTotal[];
}

export function inspectFile(file: GgufFile): InspectReport {
  const { path, fileBytes, format, version, alignment, dataOffset } = file;
  const model = attempt(() => modelOf(file, { activation: null }));
  const tokenizer = attempt(() => loadTokenizer(file));
  const activation = attempt(() => decideActivation(file, {}));
  const tensors = [...file.tensors.values()].map(
    ({ name, type, dims, offset, bytes }): ReportedTensor => ({
      name,
      layer: layerOf(name),
      type: type.name,
      dims,
      offset,
      bytes,
    }),
  );
  return {
    path,
    fileBytes,
    format,
    version,
    alignment,
    dataOffset,
    name: file.metadata.string("general.name", ""),
    synthetic: file.metadata.boolean(SYNTHETIC_KEY, false),
    architecture: file.metadata.string("general.architecture", ""),
    activation: activation.value,
    model: model.value === null ? null : summaryOf(model.value),
    whyNot: (model.error ?? tokenizer.error)?.replace(`${path}: `, "") ?? null,
    metadata: Object.fromEntries([...file.metadata].map(([key, value]) => [key, reported(value)])),
    tensors,
    tensorBytes: tensors.reduce((sum, tensor) => sum + tensor.bytes, 0),
    types: totalsByType(tensors),
  };
}

function attempt<T>(work: () => T): { value: T | null; error: string | null } {
  try {
    return { value: work(), error: null };
  } catch (error) {
    if (!(error instanceof ThermoclineError)) throw error;
    return { value: null, error: error.message };
  }
}

function summaryOf(model: Model): InspectReport["model"] {
  const { shape, trainedContextLength, parameters, hasPredictor, downTransposed } = model;
  return { shape, trainedContextLength, parameters, hasPredictor, downTransposed };
}

function layerOf(name: string): number | null {
  const match = /^blk\.(\d+)\./.exec(name);
  return match === null ? null : Number(match[1]);
}

function totalsByType(tensors: readonly ReportedTensor[]): TypeTotal[] {
  const totals = new Map<string, TypeTotal>();
  for (const { type, bytes } of tensors) {
    const total = totals.get(type) ?? { type, tensors: 0, bytes: 0 };
    totals.set(type, { type, tensors: total.tensors + 1, bytes: total.bytes + bytes });
  }
  return [...totals.values()].sort((a, b) => b.bytes - a.bytes);
}

function reported(value: GgufValue): ReportedValue {
  if (value.type !== "array") return { type: value.type, value: scalar(value.value) };
  const { of, values } = value;
  const first: ReportedElement[] = [];
  for (let i = 0; i < Math.min(values.length, SHOWN_ELEMENTS); i++) {
    const element = values[i] ?? "";
    first.push(
      typeof element === "object" ? { of: element.of, length: element.values.length } : scalar(element),
    );
  }
  return { type: "array", of, length: values.length, first };
}

/** 64-bit integers that a number cannot hold become text. */
function scalar(value: Scalar | bigint): Scalar {
  if (typeof value !== "bigint") return value;
  return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString();
}
