/** Reads GGUF's primitive values one after another, checking each length against the file before believing it. */
import { isUtf8 } from "node:buffer";
import { ThermoclineError } from "../../proto/errors.js";
import {
  abbreviate,
  GGUF_VALUE_TYPES,
  type GgufArray,
  type GgufNumbers,
  type GgufValue,
  type GgufValueType,
} from "./gguf-metadata.js";

/** The header goes on to `bytes` bytes from the file's start, more than the window holds. */
export class NeedMoreBytes extends Error {
  override readonly name = "NeedMoreBytes";
  constructor(readonly bytes: number) {
    super(`the header reaches at least to byte ${bytes}`);
  }
}

export interface HeaderSource {
  path: string;
  fileBytes: number;
}

/** The GGUF specification's limit on keys; names of tensors are shorter still. */
const MAX_NAME_BYTES = 65_535;
const MAX_ARRAY_DEPTH = 4;

const NUMBER_ARRAYS = {
  uint8: Uint8Array,
  int8: Int8Array,
  uint16: Uint16Array,
  int16: Int16Array,
  uint32: Uint32Array,
  int32: Int32Array,
  float32: Float32Array,
  uint64: BigUint64Array,
  int64: BigInt64Array,
  float64: Float64Array,
} as const satisfies Partial<Record<GgufValueType, unknown>>;

export class GgufCursor {
  /** Bytes read so far. */
  position = 0;

  /** @param window the file's first bytes */
  constructor(
    private readonly window: Buffer,
    readonly source: HeaderSource,
  ) {}

  damaged(what: string): ThermoclineError {
    return new ThermoclineError(
      "DATA_LOSS",
      `${this.source.path}: ${what}; the file is damaged or incomplete, get it again`,
    );
  }

  /** Moves past `bytes` bytes and returns where they began. */
  private take(bytes: number, what: string): number {
    const start = this.position;
    const end = start + bytes;
    if (end > this.source.fileBytes) {
      throw this.damaged(
        `${what} takes ${bytes} bytes from byte ${start}, past the file's end at ${this.source.fileBytes}`,
      );
    }
    if (end > this.window.length) throw new NeedMoreBytes(end);
    this.position = end;
    return start;
  }

  /** A view of the next bytes. */
  bytes(count: number, what: string): Buffer {
    const start = this.take(count, what);
    return this.window.subarray(start, start + count);
  }

  uint32(what: string): number {
    return this.window.readUInt32LE(this.take(4, what));
  }

  uint64(what: string): number {
    const start = this.take(8, what);
    const value = this.window.readUInt32LE(start + 4) * 2 ** 32 + this.window.readUInt32LE(start);
    if (!Number.isSafeInteger(value)) {
      throw this.damaged(`${what} is ${this.window.readBigUInt64LE(start)}, beyond any possible file`);
    }
    return value;
  }

  /** A number of things that take at least `minBytes` each and follow from here on. */
  count(what: string, minBytes: number, limit = Number.MAX_SAFE_INTEGER): number {
    const value = this.uint64(what);
    const room = Math.floor((this.source.fileBytes - this.position) / minBytes);
    if (value > Math.min(room, limit)) {
      throw this.damaged(`${what} is ${value} where at most ${Math.min(room, limit)} are possible`);
    }
    return value;
  }

  /** A key or a tensor's name: not empty, valid UTF-8. */
  name(what: string): string {
    const length = this.uint64(`the length of ${what}`);
    if (length === 0 || length > MAX_NAME_BYTES) {
      throw this.damaged(`${what} has ${length} bytes where 1 to ${MAX_NAME_BYTES} are allowed`);
    }
    const bytes = this.bytes(length, what);
    if (!isUtf8(bytes)) throw this.damaged(`${what} is not UTF-8: "${abbreviate(bytes.toString("latin1"))}"`);
    return bytes.toString("utf8");
  }

  /** The value of a metadata key, behind its type. */
  value(key: string): GgufValue {
    const what = `the value of metadata key ${abbreviate(key)}`;
    return this.valueOf(this.valueType(what), what, 0);
  }

  private valueType(what: string): GgufValueType {
    const number = this.uint32(`the type of ${what}`);
    const type = GGUF_VALUE_TYPES[number];
    if (type === undefined) {
      throw this.damaged(`${what} has type ${number} where 0 to ${GGUF_VALUE_TYPES.length - 1} are defined`);
    }
    return type;
  }

  private valueOf(type: GgufValueType, what: string, depth: number): GgufValue {
    switch (type) {
      case "uint64":
        return { type, value: this.window.readBigUInt64LE(this.take(8, what)) };
      case "int64":
        return { type, value: this.window.readBigInt64LE(this.take(8, what)) };
      case "bool":
        return { type, value: this.boolean(what) };
      case "string":
        return { type, value: this.string(what) };
      case "array":
        return this.array(what, depth + 1);
      default:
        return { type, value: Number(this.numbers(type, 1, what)[0]) };
    }
  }

  private boolean(what: string): boolean {
    const byte = this.window.readUInt8(this.take(1, what));
    if (byte > 1) throw this.damaged(`${what} is a bool of ${byte} where 0 or 1 belongs`);
    return byte === 1;
  }

  /** Bytes that are not UTF-8 become U+FFFD: llama.cpp takes any bytes here, and some vocabularies have them. */
  private string(what: string): string {
    const length = this.uint64(what);
    const start = this.take(length, what);
    return this.window.toString("utf8", start, start + length);
  }

  private array(what: string, depth: number): GgufArray {
    if (depth > MAX_ARRAY_DEPTH) {
      throw this.damaged(`${what} has arrays nested deeper than ${MAX_ARRAY_DEPTH} levels`);
    }
    const of = this.valueType(what);
    const length = `the length of ${what}`;
    switch (of) {
      case "string":
        return {
          type: "array",
          of,
          values: this.many(this.count(length, 8), 8, what, () => this.string(what)),
        };
      case "bool":
        return {
          type: "array",
          of,
          values: this.many(this.count(length, 1), 1, what, () => this.boolean(what)),
        };
      case "array": {
        // An inner array has at least a type and a length.
        const count = this.count(length, 12);
        return { type: "array", of, values: this.many(count, 12, what, () => this.array(what, depth + 1)) };
      }
      default: {
        const count = this.count(length, NUMBER_ARRAYS[of].BYTES_PER_ELEMENT);
        return { type: "array", of, values: this.numbers(of, count, what) };
      }
    }
  }

  /** Reads `count` values, once the window holds the least they can take. */
  private many<T>(count: number, minBytes: number, what: string, read: () => T): T[] {
    const start = this.take(count * minBytes, what);
    this.position = start;
    const values: T[] = [];
    for (let i = 0; i < count; i++) values.push(read());
    return values;
  }

  private numbers(type: keyof typeof NUMBER_ARRAYS, count: number, what: string): GgufNumbers {
    const NumberArray = NUMBER_ARRAYS[type];
    const start = this.take(count * NumberArray.BYTES_PER_ELEMENT, what);
    // A copy, because the window is not aligned and shall not be kept alive.
    return new NumberArray(new Uint8Array(this.window.subarray(start, this.position)).buffer);
  }
}
