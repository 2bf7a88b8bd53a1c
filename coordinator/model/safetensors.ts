/**
 * Reads Hugging Face safetensors: `model.safetensors`, or the shards that `model.safetensors.index.json` names
 * (https://huggingface.co/docs/safetensors). A file is eight bytes of header length, a JSON header, and data.
 */
import { type FileHandle, open } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";
import { parseJson, readJsonFile } from "./json-file.js";
import { readExactly } from "./read-exactly.js";

/** Element types that weights come in. */
export type FloatType = "F32" | "F16" | "BF16";
export const FLOAT_BYTES: Readonly<Record<FloatType, number>> = { F32: 4, F16: 2, BF16: 2 };

export interface SafeTensor {
  name: string;
  /** As the file spells it; see {@link floatTypeOf} for those that can be read as weights. */
  dtype: string;
  /** Elements along each dimension, the contiguous one last: a matrix is [rows, columns]. */
  shape: readonly number[];
  /** Path of the file it is in. */
  path: string;
  /** From the start of that file, in bytes. */
  offset: number;
  bytes: number;
}

/** The safetensors format's own limit. */
const MAX_HEADER_BYTES = 100_000_000;

const Entry = z.object({
  dtype: z.string(),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
/** Tensors by name, and free text under `__metadata__`. */
const Header = z.preprocess(
  (json) =>
    typeof json === "object" && json !== null
      ? Object.fromEntries(Object.entries(json).filter(([name]) => name !== "__metadata__"))
      : json,
  z.record(z.string(), Entry),
);
const Index = z.object({ weight_map: z.record(z.string(), z.string()) });

/** The open weight files of one model folder. Close it. */
export class Safetensors {
  readonly tensors: ReadonlyMap<string, SafeTensor>;

  private constructor(
    private readonly files: ReadonlyMap<string, FileHandle>,
    tensors: ReadonlyMap<string, SafeTensor>,
  ) {
    this.tensors = tensors;
  }

  /**
   * @throws ThermoclineError NOT_FOUND (no safetensors in the folder, or a shard is missing), DATA_LOSS (damaged)
   */
  static async openFolder(folder: string): Promise<Safetensors> {
    const files = new Map<string, FileHandle>();
    const tensors = new Map<string, SafeTensor>();
    try {
      for (const path of await weightFiles(folder)) {
        const file = await open(path, "r").catch((error: unknown) => {
          throw new ThermoclineError(
            "NOT_FOUND",
            `${path}: cannot be opened: ${String(error)}; get the model again`,
            {
              cause: error,
            },
          );
        });
        files.set(path, file);
        for (const tensor of await readHeader(file, path)) {
          if (tensors.has(tensor.name)) throw damaged(path, `tensor ${tensor.name} is in another file, too`);
          tensors.set(tensor.name, tensor);
        }
      }
      return new Safetensors(files, tensors);
    } catch (error) {
      for (const file of files.values()) await file.close();
      throw error;
    }
  }

  /** Reads `bytes` bytes of a tensor, from the `offset`-th on. */
  async read(tensor: SafeTensor, offset: number, bytes: number): Promise<Uint8Array<ArrayBuffer>> {
    const file = this.files.get(tensor.path);
    if (file === undefined) throw new ThermoclineError("INTERNAL", `${tensor.path} is not open`);
    return readExactly(file, tensor.path, tensor.offset + offset, bytes);
  }

  async close(): Promise<void> {
    for (const file of this.files.values()) await file.close();
  }
}

/** @throws ThermoclineError UNIMPLEMENTED for a type that is not a plain float */
export function floatTypeOf(tensor: SafeTensor): FloatType {
  const { dtype } = tensor;
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return dtype;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${tensor.path}: tensor ${tensor.name} has type ${dtype}; supported: ${Object.keys(FLOAT_BYTES).join(", ")}`,
  );
}

async function weightFiles(folder: string): Promise<string[]> {
  const index = join(folder, "model.safetensors.index.json");
  const shards = await readJsonFile(index, Index);
  if (shards === null) return [join(folder, "model.safetensors")];
  const names = [...new Set(Object.values(shards.weight_map))].sort();
  for (const name of names) {
    if (basename(name) !== name) throw damaged(index, `the shard "${name}" lies outside the folder`);
  }
  return names.map((name) => join(folder, name));
}

async function readHeader(file: FileHandle, path: string): Promise<SafeTensor[]> {
  const { size } = await file.stat();
  if (size < 8) throw damaged(path, `the file has ${size} bytes, less than a header's length takes`);
  const length = Buffer.from(await readExactly(file, path, 0, 8)).readBigUInt64LE();
  if (length > Math.min(size - 8, MAX_HEADER_BYTES)) {
    throw damaged(path, `the header claims ${length} bytes of a file of ${size}`);
  }
  const dataOffset = 8 + Number(length);
  const text = Buffer.from(await readExactly(file, path, 8, Number(length))).toString("utf8");
  const header = parseJson(path, text, Header);
  return Object.entries(header).map(
    ([
      name,
      {
        dtype,
        shape,
        data_offsets: [begin, end],
      },
    ]) => {
      if (begin > end || end > size - dataOffset) {
        throw damaged(
          path,
          `tensor ${name} lies at ${begin} to ${end} of ${size - dataOffset} bytes of data`,
        );
      }
      return { name, dtype, shape, path, offset: dataOffset + begin, bytes: end - begin };
    },
  );
}

function damaged(path: string, what: string, cause?: unknown): ThermoclineError {
  return new ThermoclineError("DATA_LOSS", `${path}: ${what}; get the model again`, { cause });
}
