/** Writes GGUF v3 files (and, for tests, v2 and `PWRI` ones), tensor by tensor. */

import { randomBytes } from "node:crypto";
import { type FileHandle, open, rename, rm, stat } from "node:fs/promises";
import { ThermoclineError } from "../../proto/errors.js";
import { GGUF_VALUE_TYPES, type GgufArray, type GgufValue } from "./gguf-metadata.js";
import { bytesOf, type GgufFormat, type TensorType, tensorTypeNumber } from "./tensor-types.js";

/** A tensor to be written. */
export interface GgufTensorSpec {
  name: string;
  type: TensorType;
  /** Elements along each dimension, the contiguous one first: a matrix is [columns, rows]. */
  dims: readonly number[];
}

export interface GgufHeader {
  format: GgufFormat;
  version: 2 | 3;
  /** `general.alignment`, where present, decides where tensors begin; 32 otherwise. */
  metadata: Iterable<readonly [string, GgufValue]>;
  tensors: readonly GgufTensorSpec[];
}

/** Where each tensor of a header lies. */
export interface GgufLayout {
  /** The encoded header, padded up to the tensor data. */
  header: Buffer;
  /** Offset from the start of the file and size in bytes of each tensor, in the header's order. */
  tensors: readonly { offset: number; bytes: number }[];
  fileBytes: number;
}

/** Lays a file out. */
export function layOutGguf({ format, version, metadata, tensors }: GgufHeader): GgufLayout {
  const entries = [...metadata];
  const given = entries.find(([key]) => key === "general.alignment")?.[1];
  const alignment = given?.type === "uint32" ? given.value : 32;
  const pad = (bytes: number) => Math.ceil(bytes / alignment) * alignment;
  const parts: Buffer[] = [
    Buffer.from(format === "pwri" ? "PWRI" : "GGUF", "latin1"),
    uint32(version),
    uint64(tensors.length),
    uint64(entries.length),
    ...entries.flatMap(([key, value]) => [
      string(key),
      uint32(GGUF_VALUE_TYPES.indexOf(value.type)),
      encode(value),
    ]),
  ];
  const places: { offset: number; bytes: number }[] = [];
  let dataBytes = 0;
  for (const { name, type, dims } of tensors) {
    const number = tensorTypeNumber(format, type.name);
    if (number === null) {
      throw new ThermoclineError("INTERNAL", `tensor ${name}: ${format} files have no type ${type.name}`);
    }
    parts.push(string(name), uint32(dims.length), ...dims.map(uint64), uint32(number), uint64(dataBytes));
    const bytes = bytesOf(
      type,
      dims.reduce((product, dim) => product * dim, 1),
    );
    places.push({ offset: dataBytes, bytes });
    dataBytes += pad(bytes);
  }
  const written = Buffer.concat(parts);
  const header = Buffer.concat([written, Buffer.alloc(pad(written.length) - written.length)]);
  return {
    header,
    tensors: places.map(({ offset, bytes }) => ({ offset: header.length + offset, bytes })),
    fileBytes: header.length + dataBytes,
  };
}

function uint32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

function uint64(value: number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

function string(text: string): Buffer {
  const bytes = Buffer.from(text, "utf8");
  return Buffer.concat([uint64(bytes.length), bytes]);
}

function encode(value: GgufValue): Buffer {
  const buffer = Buffer.alloc(8);
  switch (value.type) {
    case "uint8":
    case "int8":
      return Buffer.from([value.value & 0xff]);
    case "bool":
      return Buffer.from([value.value ? 1 : 0]);
    case "uint16":
      return buffer.subarray(0, buffer.writeUInt16LE(value.value));
    case "int16":
      return buffer.subarray(0, buffer.writeInt16LE(value.value));
    case "uint32":
      return buffer.subarray(0, buffer.writeUInt32LE(value.value));
    case "int32":
      return buffer.subarray(0, buffer.writeInt32LE(value.value));
    case "float32":
      return buffer.subarray(0, buffer.writeFloatLE(value.value));
    case "uint64":
      return buffer.subarray(0, buffer.writeBigUInt64LE(value.value));
    case "int64":
      return buffer.subarray(0, buffer.writeBigInt64LE(value.value));
    case "float64":
      return buffer.subarray(0, buffer.writeDoubleLE(value.value));
    case "string":
      return string(value.value);
    case "array":
      return encodeArray(value);
  }
}

function encodeArray({ of, values }: GgufArray): Buffer {
  const head = [uint32(GGUF_VALUE_TYPES.indexOf(of)), uint64(values.length)];
  if (ArrayBuffer.isView(values)) {
    return Buffer.concat([...head, new Uint8Array(values.buffer, values.byteOffset, values.byteLength)]);
  }
  const encoded = values.map((value) => {
    if (typeof value === "string") return string(value);
    return typeof value === "boolean" ? Buffer.from([value ? 1 : 0]) : encodeArray(value);
  });
  return Buffer.concat([...head, ...encoded]);
}

/**
 * A file being written. It has a name of its own beside `path` until {@link finish} gives it the right one, so that
 * nobody ever sees half a model. Every tensor must be written, in the header's order, in pieces of any size.
 */
export class GgufWriter {
  private readonly tensors: { name: string; offset: number; end: number }[];
  private current = 0;
  private position: number;

  private constructor(
    private readonly path: string,
    private readonly draft: string,
    private readonly file: FileHandle,
    header: GgufHeader,
    private readonly layout: GgufLayout,
  ) {
    this.tensors = layout.tensors.map(({ offset, bytes }, i) => ({
      name: header.tensors[i]?.name ?? "",
      offset,
      end: offset + bytes,
    }));
    this.position = this.tensors[0]?.offset ?? layout.header.length;
  }

  /** @throws ThermoclineError FAILED_PRECONDITION when the file exists and may not be replaced, or cannot be made */
  static async create(path: string, header: GgufHeader, options: { replace: boolean }): Promise<GgufWriter> {
    if (!options.replace && (await exists(path))) {
      throw new ThermoclineError(
        "FAILED_PRECONDITION",
        `${path}: exists already; give --force to replace it`,
      );
    }
    const layout = layOutGguf(header);
    const draft = `${path}.${randomBytes(6).toString("hex")}.part`;
    const file = await open(draft, "wx").catch((error: unknown) => {
      throw new ThermoclineError("FAILED_PRECONDITION", `${path}: cannot be written: ${String(error)}`, {
        cause: error,
      });
    });
    const writer = new GgufWriter(path, draft, file, header, layout);
    try {
      await writer.put(layout.header, 0);
      await file.truncate(layout.fileBytes);
    } catch (error) {
      await writer.discard();
      throw error;
    }
    return writer;
  }

  /** Size of the finished file in bytes. */
  get fileBytes(): number {
    return this.layout.fileBytes;
  }

  /** Appends to the tensor `name`, which must be the one at hand. */
  async write(name: string, piece: Uint8Array): Promise<void> {
    const tensor = this.tensors[this.current];
    if (tensor?.name !== name || this.position + piece.length > tensor.end) {
      throw new ThermoclineError(
        "INTERNAL",
        `${this.path}: ${piece.length} bytes of tensor ${name} do not fit tensor ${tensor?.name ?? "(none)"} at ` +
          `byte ${this.position}`,
      );
    }
    await this.put(piece, this.position);
    this.position += piece.length;
    if (this.position === tensor.end) {
      this.current += 1;
      this.position = this.tensors[this.current]?.offset ?? this.position;
    }
  }

  /** Gives the file its name. */
  async finish(): Promise<void> {
    const missing = this.tensors[this.current];
    if (missing !== undefined) {
      throw new ThermoclineError(
        "INTERNAL",
        `${this.path}: tensor ${missing.name} was not written to its end`,
      );
    }
    await this.file.sync();
    await this.file.close();
    await rename(this.draft, this.path);
  }

  /** Gives up and removes what was written. */
  async discard(): Promise<void> {
    await this.file.close();
    await rm(this.draft, { force: true });
  }

  private async put(bytes: Uint8Array, position: number): Promise<void> {
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await this.file.write(bytes, done, bytes.length - done, position + done)).bytesWritten;
      }
    } catch (error) {
      throw new ThermoclineError(
        "RESOURCE_EXHAUSTED",
        `${this.path}: ${this.layout.fileBytes} bytes cannot be written: ${String(error)}; make room for them`,
        { cause: error },
      );
    }
  }
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Writes a whole file at once: the header, and each tensor's bytes in the header's order. */
export async function writeGguf(
  path: string,
  header: Omit<GgufHeader, "tensors"> & { tensors: readonly (GgufTensorSpec & { data: Uint8Array })[] },
): Promise<void> {
  const writer = await GgufWriter.create(path, header, { replace: true });
  try {
    for (const { name, data } of header.tensors) await writer.write(name, data);
    await writer.finish();
  } catch (error) {
    await writer.discard();
    throw error;
  }
}
