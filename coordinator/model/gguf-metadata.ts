/** Key-value metadata of a GGUF file: its value types, and getters that say what is wrong with a value. */
import { ThermoclineError } from "../../proto/errors.js";

/** Metadata value types, in the order of their numbers in a file. */
export const GGUF_VALUE_TYPES = [
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "float32",
  "bool",
  "string",
  "array",
  "uint64",
  "int64",
  "float64",
] as const;
export type GgufValueType = (typeof GGUF_VALUE_TYPES)[number];

export type GgufNumbers =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | BigUint64Array
  | BigInt64Array
  | Float64Array;

export interface GgufArray {
  type: "array";
  /** Type of the elements. */
  of: GgufValueType;
  /** Numbers in a typed array of their own type; the rest in plain arrays. */
  values: GgufNumbers | readonly boolean[] | readonly string[] | readonly GgufArray[];
}

export type GgufValue =
  | {
      type: "uint8" | "int8" | "uint16" | "int16" | "uint32" | "int32" | "float32" | "float64";
      value: number;
    }
  | { type: "uint64" | "int64"; value: bigint }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | GgufArray;

/**
 * Metadata by key, in the file's order. The getters return `otherwise` for a key that is absent, when it was given;
 * an absent key without it, or a value of another type, is a DATA_LOSS error that names the file and the key.
 */
export class GgufMetadata extends Map<string, GgufValue> {
  constructor(
    /** The file's path, for messages. */
    private readonly path: string,
    entries: Iterable<readonly [string, GgufValue]> = [],
  ) {
    super();
    for (const [key, value] of entries) this.set(key, value);
  }

  string(key: string): string;
  string<T>(key: string, otherwise: T): string | T;
  string(key: string, ...otherwise: unknown[]): unknown {
    const entry = this.get(key);
    if (entry === undefined) return this.absent(key, otherwise);
    if (entry.type !== "string") throw this.mismatch(key, entry, "a string");
    return entry.value;
  }

  boolean(key: string): boolean;
  boolean<T>(key: string, otherwise: T): boolean | T;
  boolean(key: string, ...otherwise: unknown[]): unknown {
    const entry = this.get(key);
    if (entry === undefined) return this.absent(key, otherwise);
    if (entry.type !== "bool") throw this.mismatch(key, entry, "a bool");
    return entry.value;
  }

  /** An integer of any width and sign. */
  integer(key: string): number;
  integer<T>(key: string, otherwise: T): number | T;
  integer(key: string, ...otherwise: unknown[]): unknown {
    const entry = this.get(key);
    if (entry === undefined) return this.absent(key, otherwise);
    const value = entry.type === "array" || entry.type.startsWith("float") ? null : entry.value;
    if (typeof value !== "number" && typeof value !== "bigint") throw this.mismatch(key, entry, "an integer");
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw this.mismatch(key, entry, "an integer below 2^53");
    return number;
  }

  /** A finite number of any type. */
  number(key: string): number;
  number<T>(key: string, otherwise: T): number | T;
  number(key: string, ...otherwise: unknown[]): unknown {
    const entry = this.get(key);
    if (entry === undefined) return this.absent(key, otherwise);
    const value = entry.type === "array" ? null : entry.value;
    if (typeof value !== "number" && typeof value !== "bigint") throw this.mismatch(key, entry, "a number");
    if (!Number.isFinite(Number(value))) throw this.mismatch(key, entry, "a finite number");
    return Number(value);
  }

  strings(key: string): readonly string[];
  strings<T>(key: string, otherwise: T): readonly string[] | T;
  strings(key: string, ...otherwise: unknown[]): unknown {
    const entry = this.get(key);
    if (entry === undefined) return this.absent(key, otherwise);
    if (entry.type !== "array" || entry.of !== "string")
      throw this.mismatch(key, entry, "an array of strings");
    return entry.values;
  }

  /** An array of numbers of any type but the 64-bit integers, in its own type. */
  numbers(key: string): Exclude<GgufNumbers, BigUint64Array | BigInt64Array>;
  numbers<T>(key: string, otherwise: T): Exclude<GgufNumbers, BigUint64Array | BigInt64Array> | T;
  numbers(key: string, ...otherwise: unknown[]): unknown {
    const entry = this.get(key);
    if (entry === undefined) return this.absent(key, otherwise);
    const plain =
      entry.type === "array" &&
      ArrayBuffer.isView(entry.values) &&
      !(entry.values instanceof BigUint64Array) &&
      !(entry.values instanceof BigInt64Array);
    if (!plain) throw this.mismatch(key, entry, "an array of numbers");
    return entry.values;
  }

  private absent(key: string, otherwise: readonly unknown[]): unknown {
    if (otherwise.length > 0) return otherwise[0];
    throw new ThermoclineError(
      "DATA_LOSS",
      `${this.path}: the metadata key ${key} is missing; convert the model again with a converter that writes it`,
    );
  }

  private mismatch(key: string, entry: GgufValue, wanted: string): ThermoclineError {
    const found =
      entry.type === "array"
        ? `an array of ${entry.values.length} ${entry.of}`
        : `the ${entry.type} ${abbreviate(String(entry.value))}`;
    return new ThermoclineError(
      "DATA_LOSS",
      `${this.path}: the metadata key ${key} holds ${found} where ${wanted} belongs; convert the model again`,
    );
  }
}

const MESSAGE_TEXT_LENGTH = 60;

/** A text fit for a message or a terminal: control characters escaped, 60 characters at most. */
export function abbreviate(text: string): string {
  const escaped = JSON.stringify(text.slice(0, MESSAGE_TEXT_LENGTH))
    .slice(1, -1)
    // JSON leaves these as they are; terminals take some of them for commands.
    .replaceAll(/[\u007f-\u009f]/g, "\ufffd");
  const whole = escaped.length <= MESSAGE_TEXT_LENGTH && text.length <= MESSAGE_TEXT_LENGTH;
  return whole ? escaped : `${escaped.slice(0, MESSAGE_TEXT_LENGTH - 1)}…`;
}
