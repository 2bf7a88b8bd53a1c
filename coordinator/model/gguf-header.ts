/**
 * Parses the header of a GGUF file from its first bytes: magic, version, metadata, tensor descriptions
 * (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). A pure function of those bytes and the file's size.
 */
import { ThermoclineError } from "../../proto/errors.js";
import type { GgufFile, GgufTensor } from "./gguf.js";
import { GgufCursor, type HeaderSource } from "./gguf-cursor.js";
import { abbreviate, GgufMetadata } from "./gguf-metadata.js";
import { bytesOf, type GgufFormat, type TensorType, tensorTypeOf } from "./tensor-types.js";

const DEFAULT_ALIGNMENT = 32;
const MAX_DIMENSIONS = 4;
/** Far above any real file (a few dozen keys, a few thousand tensors) and within what a Map can hold. */
const MAX_KEYS = 1 << 16;
const MAX_TENSORS = 1 << 20;
/** An empty key, its value's type, and a value of one byte. */
const MIN_KEY_BYTES = 8 + 4 + 1;
/** An empty name, no dimensions, a type and an offset. */
const MIN_TENSOR_BYTES = 8 + 4 + 4 + 8;
/** No type packs more elements into a byte. */
const MAX_ELEMENTS_PER_BYTE = 8;

/**
 * @param window the file's first bytes, as many as the header needs
 * @throws NeedMoreBytes when the header goes on behind `window` (and within the file)
 * @throws ThermoclineError DATA_LOSS or UNIMPLEMENTED, see {@link GgufFile}'s reader
 */
export function parseGgufHeader(window: Buffer, source: HeaderSource): GgufFile {
  const cursor = new GgufCursor(window, source);
  const format = readMagic(cursor);
  const version = readVersion(cursor);
  const tensorCount = cursor.count("the number of tensors", MIN_TENSOR_BYTES, MAX_TENSORS);
  const keyCount = cursor.count("the number of metadata keys", MIN_KEY_BYTES, MAX_KEYS);
  const metadata = readMetadata(cursor, keyCount);
  const alignment = alignmentOf(cursor, metadata);
  const described = new Map<string, GgufTensor>();
  for (let i = 0; i < tensorCount; i++) {
    const tensor = readTensor(cursor, format);
    if (described.has(tensor.name)) throw cursor.damaged(`tensor ${tensor.name} is listed twice`);
    described.set(tensor.name, tensor);
  }
  const dataOffset = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map<string, GgufTensor>();
  for (const tensor of described.values()) {
    tensors.set(tensor.name, locate(cursor, tensor, dataOffset, alignment));
  }
  checkOverlaps(cursor, tensors.values());
  return { ...source, format, version, metadata, tensors, dataOffset, alignment };
}

function readMagic(cursor: GgufCursor): GgufFormat {
  const magic = cursor.bytes(4, "the magic").toString("latin1");
  if (magic === "GGUF") return "gguf";
  if (magic === "PWRI") return "pwri";
  throw new ThermoclineError(
    "DATA_LOSS",
    `${cursor.source.path}: is not a GGUF file: it begins with "${abbreviate(magic)}" where "GGUF" or "PWRI" belongs`,
  );
}

function readVersion(cursor: GgufCursor): number {
  const version = cursor.uint32("the version");
  if (version === 2 || version === 3) return version;
  const what =
    version !== 0 && (version & 0xffff) === 0
      ? "is stored in big-endian order; supported: little-endian"
      : `has GGUF version ${version}; supported: 2 and 3`;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${cursor.source.path}: ${what}; convert the model again with a current converter`,
  );
}

function readMetadata(cursor: GgufCursor, count: number): GgufMetadata {
  const metadata = new GgufMetadata(cursor.source.path);
  for (let i = 0; i < count; i++) {
    const key = cursor.name("a metadata key");
    if (metadata.has(key)) throw cursor.damaged(`metadata key ${abbreviate(key)} is listed twice`);
    metadata.set(key, cursor.value(key));
  }
  return metadata;
}

function alignmentOf(cursor: GgufCursor, metadata: GgufMetadata): number {
  const alignment = metadata.integer("general.alignment", DEFAULT_ALIGNMENT);
  if (alignment > 0 && alignment <= 2 ** 31 && Number.isInteger(Math.log2(alignment))) return alignment;
  throw cursor.damaged(`general.alignment is ${alignment} where a power of two up to 2^31 belongs`);
}

/** A tensor with its offset still relative to the start of the data. */
function readTensor(cursor: GgufCursor, format: GgufFormat): GgufTensor {
  const name = cursor.name("a tensor's name");
  const shown = `tensor ${abbreviate(name)}`;
  const dimensions = cursor.uint32(`the dimensions of ${shown}`);
  if (dimensions > MAX_DIMENSIONS) {
    throw cursor.damaged(
      `${shown} claims ${dimensions} dimensions where at most ${MAX_DIMENSIONS} are allowed`,
    );
  }
  const dims: number[] = [];
  for (let d = 0; d < dimensions; d++) dims.push(cursor.uint64(`dimension ${d} of ${shown}`));
  const type = readType(cursor, format, shown);
  const offset = cursor.uint64(`the offset of ${shown}`);
  // Inexact above 2^53, which is far beyond the limit it is compared with.
  const elements = dims.reduce((product, dim) => product * dim, 1);
  if (elements === 0 || elements > cursor.source.fileBytes * MAX_ELEMENTS_PER_BYTE) {
    throw cursor.damaged(`${shown} claims ${dims.join(" x ")} elements, which the file's size rules out`);
  }
  if ((dims[0] ?? 1) % type.blockSize !== 0) {
    throw cursor.damaged(
      `${shown} has rows of ${dims[0] ?? 1} elements where ${type.name} wants a multiple of ${type.blockSize}`,
    );
  }
  return { name, type, dims, elements, offset, bytes: bytesOf(type, elements) };
}

function readType(cursor: GgufCursor, format: GgufFormat, shown: string): TensorType {
  const number = cursor.uint32(`the type of ${shown}`);
  const type = tensorTypeOf(format, number);
  if (type !== null) return type;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${cursor.source.path}: ${shown} has the unknown type ${number}; convert the model again to a current type`,
  );
}

function locate(cursor: GgufCursor, tensor: GgufTensor, dataOffset: number, alignment: number): GgufTensor {
  const shown = `tensor ${abbreviate(tensor.name)}`;
  if (tensor.offset % alignment !== 0) {
    throw cursor.damaged(
      `${shown} begins at offset ${tensor.offset}, which is not a multiple of ${alignment}`,
    );
  }
  const offset = dataOffset + tensor.offset;
  const end = offset + tensor.bytes;
  if (end > cursor.source.fileBytes) {
    throw cursor.damaged(`${shown} ends at byte ${end}, past the file's end at ${cursor.source.fileBytes}`);
  }
  return { ...tensor, offset };
}

function checkOverlaps(cursor: GgufCursor, tensors: Iterable<GgufTensor>): void {
  const ordered = [...tensors].sort((a, b) => a.offset - b.offset);
  for (const [i, tensor] of ordered.entries()) {
    const next = ordered[i + 1];
    if (next !== undefined && tensor.offset + tensor.bytes > next.offset) {
      throw cursor.damaged(`tensors ${abbreviate(tensor.name)} and ${abbreviate(next.name)} overlap`);
    }
  }
}
