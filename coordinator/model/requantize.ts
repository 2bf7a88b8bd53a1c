/** Writes a GGUF or PWRI file again with its weights in another type. */
import { type FileHandle, open, stat } from "node:fs/promises";
import type { WeightType } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { type GgufFile, type GgufTensor, readGguf } from "./gguf.js";
import type { GgufValue } from "./gguf-metadata.js";
import { type GgufTensorSpec, GgufWriter } from "./gguf-writer.js";
import { readExactly } from "./read-exactly.js";
import { type ConversionWatch, type TensorPiece, writeConverted } from "./row-conversion.js";
import {
  FILE_TYPES,
  QUANTIZATION_VERSION,
  type Substitution,
  storedTypeOf,
  type TypeChoice,
} from "./stored-type.js";
import { SUPPORTED_TYPE_NAMES, tensorTypeNumber, WEIGHT_TYPES } from "./tensor-types.js";

export interface RequantizeOptions extends ConversionWatch {
  types: TypeChoice;
  /** Whether an existing file may be replaced. */
  replace: boolean;
}

export interface Requantized {
  sourceBytes: number;
  fileBytes: number;
  substitutions: readonly Substitution[];
}

interface PlannedTensor {
  source: GgufTensor;
  spec: GgufTensorSpec;
  /** null copies the tensor. */
  conversion: TensorPiece["conversion"];
}

/** Elements converted at once, 4 MiB as float32: a tenth of a second of work for a core at most. */
const PIECE_ELEMENTS = 1 << 20;
/** Types that hold no weights; such tensors are copied. */
const COPIED = /^([IF]64|I8|I16|I32)$/;

/**
 * Reads and writes tensor by tensor, in the source's order and format, and keeps its metadata but for
 * `general.file_type` and `general.quantization_version`. The file appears under its name when it is whole.
 *
 * @throws ThermoclineError as {@link readGguf} and {@link writeConverted} do; INVALID_ARGUMENT (both paths are one
 *   file, or the source's format has no such type), UNIMPLEMENTED (a tensor's type cannot be read),
 *   FAILED_PRECONDITION (`out` exists and may not be replaced), RESOURCE_EXHAUSTED (no room for it)
 */
export async function requantize(
  path: string,
  out: string,
  options: RequantizeOptions,
): Promise<Requantized> {
  const file = await readGguf(path);
  await refuseSameFile(path, out);
  const { planned, substitutions } = plan(file, options.types);
  const writer = await GgufWriter.create(
    out,
    {
      format: file.format,
      version: 3,
      metadata: metadataFor(file, options.types.matrices),
      tensors: planned.map(({ spec }) => spec),
    },
    { replace: options.replace },
  );
  try {
    const source = await open(path);
    try {
      await writeConverted(writer, readPieces(source, path, planned), out, options);
    } finally {
      await source.close();
    }
    await writer.finish();
  } catch (error) {
    await writer.discard();
    throw error;
  }
  return { sourceBytes: file.fileBytes, fileBytes: writer.fileBytes, substitutions };
}

async function refuseSameFile(path: string, out: string): Promise<void> {
  const there = await stat(out).catch(() => null);
  if (there === null) return;
  const source = await stat(path);
  if (there.dev === source.dev && there.ino === source.ino) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `${out}: is the file to read, too; give the result another name`,
    );
  }
}

function plan(
  file: GgufFile,
  types: TypeChoice,
): { planned: PlannedTensor[]; substitutions: Substitution[] } {
  const substitutions: Substitution[] = [];
  const planned = [...file.tensors.values()].map((source): PlannedTensor => {
    const { name, dims } = source;
    if (COPIED.test(source.type.name)) {
      return { source, spec: { name, type: source.type, dims }, conversion: null };
    }
    const from = source.type.weightType;
    if (from === null) {
      throw new ThermoclineError(
        "UNIMPLEMENTED",
        `${file.path}: tensor ${name} has type ${source.type.name}, which cannot be read as weights; ` +
          `quantize from a file with ${SUPPORTED_TYPE_NAMES}`,
      );
    }
    const { type: to, substitution } = storedTypeOf(name, dims, types);
    if (substitution !== null) substitutions.push(substitution);
    const type = WEIGHT_TYPES[to];
    if (tensorTypeNumber(file.format, type.name) === null) {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `${file.path}: ${file.format.toUpperCase()} files have no type ${type.name}; choose --type f16`,
      );
    }
    return { source, spec: { name, type, dims }, conversion: { from, to, cols: dims[0] ?? 1 } };
  });
  return { planned, substitutions };
}

function metadataFor(file: GgufFile, matrices: WeightType): Map<string, GgufValue> {
  return new Map<string, GgufValue>([
    ...file.metadata,
    ["general.file_type", { type: "uint32", value: FILE_TYPES[matrices] }],
    ["general.quantization_version", { type: "uint32", value: QUANTIZATION_VERSION }],
  ]);
}

async function* readPieces(
  file: FileHandle,
  path: string,
  planned: readonly PlannedTensor[],
): AsyncGenerator<TensorPiece> {
  for (const { source, conversion } of planned) {
    const rows = source.elements / (source.dims[0] ?? 1);
    const rowBytes = source.bytes / rows;
    const step = Math.max(1, Math.floor(PIECE_ELEMENTS / (source.dims[0] ?? 1)));
    for (let first = 0; first < rows; first += step) {
      const offset = source.offset + first * rowBytes;
      const bytes = await readExactly(file, path, offset, Math.min(step, rows - first) * rowBytes);
      yield { tensor: source.name, bytes, conversion };
    }
  }
}
