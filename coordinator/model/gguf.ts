/** Reads the headers of GGUF v2 and v3 files, and of PowerInfer's `PWRI` variant of them. */
import { type FileHandle, open, stat } from "node:fs/promises";
import { ThermoclineError } from "../../proto/errors.js";
import { NeedMoreBytes } from "./gguf-cursor.js";
import { parseGgufHeader } from "./gguf-header.js";
import type { GgufMetadata } from "./gguf-metadata.js";
import type { GgufFormat, TensorType } from "./tensor-types.js";

export interface GgufTensor {
  name: string;
  type: TensorType;
  /** Elements along each dimension, the contiguous one first: a matrix is [columns, rows]. */
  dims: readonly number[];
  elements: number;
  /** From the start of the file, in bytes. */
  offset: number;
  bytes: number;
}

export interface GgufFile {
  path: string;
  fileBytes: number;
  format: GgufFormat;
  version: number;
  metadata: GgufMetadata;
  /** By name, in the order the file lists them. */
  tensors: ReadonlyMap<string, GgufTensor>;
  /** Where the header ends and tensor data may begin, from the start of the file, in bytes. */
  dataOffset: number;
  /** Tensor data begins at multiples of this many bytes. */
  alignment: number;
}

/** What the first read takes: enough for the header of a model with 128,000 tokens and their merges. */
const FIRST_WINDOW_BYTES = 8 << 20;
const WINDOW_GROWTH = 4;
/** No known model has a header above 40 MiB; one above this is a damaged length. */
export const MAX_HEADER_BYTES = 256 << 20;

/**
 * Reads a file's header. Tensor data is neither read nor mapped; at most the header's own bytes are held, and no
 * count or length in the file is believed before it was checked against the file's size.
 *
 * @throws ThermoclineError NOT_FOUND (no such file), INVALID_ARGUMENT (not a plain file), FAILED_PRECONDITION (it
 *   may not be read), DATA_LOSS (not GGUF, or damaged), UNIMPLEMENTED (a version, byte order or tensor type that is
 *   not supported)
 */
export async function readGguf(path: string): Promise<GgufFile> {
  const fileBytes = await sizeOf(path);
  const file = await open(path, "r").catch((error: unknown) => {
    throw unreadable(path, error);
  });
  try {
    let window = Buffer.alloc(0);
    for (let wanted = FIRST_WINDOW_BYTES; ; ) {
      window = await extend(file, path, window, Math.min(wanted, fileBytes));
      try {
        return parseGgufHeader(window, { path, fileBytes });
      } catch (error) {
        if (!(error instanceof NeedMoreBytes)) throw error;
        if (error.bytes > MAX_HEADER_BYTES) throw headerTooLong(path, error.bytes);
        wanted = Math.min(Math.max(error.bytes, window.length * WINDOW_GROWTH), MAX_HEADER_BYTES);
      }
    }
  } finally {
    await file.close();
  }
}

async function sizeOf(path: string): Promise<number> {
  const found = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  if (found.isFile()) return found.size;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `${path}: is ${found.isDirectory() ? "a folder" : "not a plain file"}; give a GGUF file ` +
      "(`thermocline convert` makes one of a Hugging Face folder)",
  );
}

function unreadable(path: string, error: unknown): ThermoclineError {
  const reason = error instanceof Error && "code" in error ? error.code : error;
  return reason === "ENOENT" || reason === "ENOTDIR"
    ? new ThermoclineError("NOT_FOUND", `${path}: there is no such file; check the path`, { cause: error })
    : new ThermoclineError(
        "FAILED_PRECONDITION",
        `${path}: the file cannot be read (${String(reason)}); check its permissions`,
        { cause: error },
      );
}

/** Reads on until `window` holds the file's first `bytes` bytes. */
async function extend(
  file: FileHandle,
  path: string,
  window: Buffer,
  bytes: number,
): Promise<Buffer<ArrayBuffer>> {
  const extended = Buffer.allocUnsafe(bytes);
  window.copy(extended);
  for (let filled = window.length; filled < bytes; ) {
    const { bytesRead } = await file.read(extended, filled, bytes - filled, filled);
    if (bytesRead === 0) {
      throw new ThermoclineError(
        "DATA_LOSS",
        `${path}: the file ended at byte ${filled} while it was read, before byte ${bytes}; is it still being written?`,
      );
    }
    filled += bytesRead;
  }
  return extended;
}

function headerTooLong(path: string, bytes: number): ThermoclineError {
  return new ThermoclineError(
    "DATA_LOSS",
    `${path}: the header claims to reach byte ${bytes}, above the limit of ${MAX_HEADER_BYTES}; the file is damaged, ` +
      "get it again",
  );
}
