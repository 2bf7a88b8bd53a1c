/** Writes Hugging Face model folders: safetensors, config.json and a SentencePiece model, byte by byte. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export interface HfTensor {
  dtype: "F32" | "F16" | "BF16" | "I64";
  shape: number[];
  data: Uint8Array;
}

/** A safetensors file as bytes. */
export function safetensorsFile(tensors: Readonly<Record<string, HfTensor>>): Buffer {
  let offset = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.length] };
    offset += data.length;
  }
  return safetensorsOf(JSON.stringify(header), Buffer.concat(Object.values(tensors).map(({ data }) => data)));
}

/** The same with a header of one's own. */
export function safetensorsOf(header: string, data: Uint8Array): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(header)));
  return Buffer.concat([length, Buffer.from(header), data]);
}

export function f32(values: ArrayLike<number>, shape: number[]): HfTensor {
  return { dtype: "F32", shape, data: new Uint8Array(Float32Array.from(values).buffer) };
}

/** `values` as the upper halves of float32s; exact for small integers. */
export function bf16(values: ArrayLike<number>, shape: number[]): HfTensor {
  const bits = new Uint32Array(Float32Array.from(values).buffer);
  return { dtype: "BF16", shape, data: new Uint8Array(Uint16Array.from(bits, (word) => word >>> 16).buffer) };
}

export interface SpmPiece {
  text: string;
  score: number;
  /** 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. */
  type: number;
}

export interface SpmOptions {
  pieces: readonly SpmPiece[];
  /** 1 unigram, 2 BPE. */
  modelType: number;
  bosId: number;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  charsmap: string;
}

export const SPM: SpmOptions = {
  pieces: [
    { text: "<unk>", score: 0, type: 2 },
    { text: "<s>", score: 0, type: 3 },
    { text: "</s>", score: 0, type: 3 },
    { text: "<0x0A>", score: 0, type: 6 },
    { text: "▁", score: -1, type: 1 },
    { text: "é", score: -2.5, type: 1 },
  ],
  modelType: 2,
  bosId: 1,
  addDummyPrefix: true,
  removeExtraWhitespaces: false,
  charsmap: "",
};

/** A SentencePiece `tokenizer.model`. */
export function spmModel(given: Partial<SpmOptions>): Buffer {
  const options = { ...SPM, ...given };
  const score = (value: number) => {
    const buffer = Buffer.alloc(4);
    buffer.writeFloatLE(value);
    return Buffer.concat([varint((2 << 3) | 5), buffer]);
  };
  return Buffer.concat([
    ...options.pieces.map(({ text, score: value, type }) =>
      bytes(1, Buffer.concat([bytes(1, Buffer.from(text)), score(value), integer(3, type)])),
    ),
    bytes(
      2,
      Buffer.concat([
        bytes(1, Buffer.from("corpus.txt")),
        integer(3, options.modelType),
        integer(4, options.pieces.length),
        integer(41, options.bosId),
        integer(43, -1),
      ]),
    ),
    bytes(
      3,
      Buffer.concat([
        bytes(1, Buffer.from("identity")),
        ...(options.charsmap === "" ? [] : [bytes(2, Buffer.from(options.charsmap))]),
        integer(3, options.addDummyPrefix ? 1 : 0),
        integer(4, options.removeExtraWhitespaces ? 1 : 0),
      ]),
    ),
  ]);
}

function varint(value: number): Buffer {
  const out: number[] = [];
  let rest = BigInt.asUintN(64, BigInt(value));
  for (; rest >= 0x80n; rest >>= 7n) out.push(Number(rest & 0x7fn) | 0x80);
  return Buffer.from([...out, Number(rest)]);
}

function integer(field: number, value: number): Buffer {
  return Buffer.concat([varint(field << 3), varint(value)]);
}

function bytes(field: number, value: Uint8Array): Buffer {
  return Buffer.concat([varint((field << 3) | 2), varint(value.length), value]);
}

/** Writes files into a folder; objects become JSON. */
export function writeFolder(folder: string, files: Readonly<Record<string, Uint8Array | object>>): string {
  mkdirSync(folder, { recursive: true });
  for (const [name, content] of Object.entries(files)) {
    writeFileSync(join(folder, name), content instanceof Uint8Array ? content : JSON.stringify(content));
  }
  return folder;
}
