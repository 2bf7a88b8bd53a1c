/** GGUF headers byte by byte, so that tests can lie in any place. */

export function u32(value: number): Buffer {
  const buffer = Buffer.alloc(4);
  buffer.writeUInt32LE(value);
  return buffer;
}

export function u64(value: bigint | number): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(BigInt(value));
  return buffer;
}

export function text(value: string | Buffer): Buffer {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value, "utf8");
  return Buffer.concat([u64(bytes.length), bytes]);
}

/** Numbers of metadata value types. */
export const TYPE = { uint8: 0, uint32: 4, float32: 6, bool: 7, string: 8, array: 9, uint64: 10 } as const;

export interface RawGguf {
  magic: string;
  version: number;
  tensorCount: bigint | number;
  keyCount: bigint | number;
  /** Each a key with its value. */
  keys: Buffer[];
  tensors: Buffer[];
  /** Bytes of tensor data behind the padded header. */
  dataBytes: number;
}

/** A file of one key and one F32 tensor of 8 elements, except for what is given. */
export function rawGguf(given: Partial<RawGguf>): Buffer {
  const keys = given.keys ?? [key("general.architecture", TYPE.string, text("llama"))];
  const tensors = given.tensors ?? [tensor({})];
  const header = Buffer.concat([
    Buffer.from(given.magic ?? "GGUF", "latin1"),
    u32(given.version ?? 3),
    u64(given.tensorCount ?? tensors.length),
    u64(given.keyCount ?? keys.length),
    ...keys,
    ...tensors,
  ]);
  const padding = Buffer.alloc(Math.ceil(header.length / 32) * 32 - header.length);
  return Buffer.concat([header, padding, Buffer.alloc(given.dataBytes ?? 32)]);
}

export function key(name: string | Buffer, type: number, value: Buffer): Buffer {
  return Buffer.concat([text(name), u32(type), value]);
}

/** A tensor's description: F32 of 8 elements at the start of the data, except for what is given. */
export function tensor(given: {
  name?: string | Buffer;
  dims?: (bigint | number)[];
  type?: number;
  offset?: bigint | number;
}): Buffer {
  const dims = given.dims ?? [8];
  return Buffer.concat([
    text(given.name ?? "t"),
    u32(dims.length),
    ...dims.map(u64),
    u32(given.type ?? 0),
    u64(given.offset ?? 0),
  ]);
}
