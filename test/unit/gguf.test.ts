import { mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gguf as readWithHuggingFace } from "@huggingface/gguf";
import { describe, expect, it } from "vitest";
import { type GgufFile, MAX_HEADER_BYTES, readGguf } from "../../coordinator/model/gguf.js";
import { GGUF_VALUE_TYPES, type GgufValue } from "../../coordinator/model/gguf-metadata.js";
import { writeGguf } from "../../coordinator/model/gguf-writer.js";
import { tensorTypeNumber, tensorTypeOf, WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { key, rawGguf, TYPE, tensor, text, u32, u64 } from "../support/gguf-bytes.js";
import { llamaCppFiles, llamaCppPath } from "../support/llama-bundle.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

/** A value of every type, and arrays of them; extremes where there are any. */
const EVERY_VALUE: Record<string, GgufValue> = {
  uint8: { type: "uint8", value: 255 },
  int8: { type: "int8", value: -128 },
  uint16: { type: "uint16", value: 65_535 },
  int16: { type: "int16", value: -32_768 },
  uint32: { type: "uint32", value: 0xffffffff },
  int32: { type: "int32", value: -(2 ** 31) },
  float32: { type: "float32", value: Math.fround(0.1) },
  float64: { type: "float64", value: 0.1 },
  uint64: { type: "uint64", value: 2n ** 64n - 1n },
  int64: { type: "int64", value: -(2n ** 63n) },
  yes: { type: "bool", value: true },
  no: { type: "bool", value: false },
  string: { type: "string", value: "Grüße, 水\u0000🌊" },
  empty: { type: "string", value: "" },
  bytes: { type: "array", of: "uint8", values: Uint8Array.of(0, 255) },
  signedBytes: { type: "array", of: "int8", values: Int8Array.of(-128, 127) },
  shorts: { type: "array", of: "uint16", values: Uint16Array.of(1, 65_535) },
  signedShorts: { type: "array", of: "int16", values: Int16Array.of(-1, 1) },
  words: { type: "array", of: "uint32", values: Uint32Array.of(1, 0xffffffff) },
  signedWords: { type: "array", of: "int32", values: Int32Array.of(-1, 2 ** 31 - 1) },
  floats: { type: "array", of: "float32", values: Float32Array.of(1.5, -0.25) },
  doubles: { type: "array", of: "float64", values: Float64Array.of(Math.PI) },
  longs: { type: "array", of: "uint64", values: BigUint64Array.of(2n ** 64n - 1n) },
  signedLongs: { type: "array", of: "int64", values: BigInt64Array.of(-1n) },
  flags: { type: "array", of: "bool", values: [true, false, true] },
  strings: { type: "array", of: "string", values: ["▁a", "", "é", "🌊"] },
  nothing: { type: "array", of: "string", values: [] },
  nested: {
    type: "array",
    of: "array",
    values: [
      { type: "array", of: "int32", values: Int32Array.of(1, 2) },
      { type: "array", of: "string", values: ["x"] },
    ],
  },
};

/** Metadata as @huggingface/gguf gives it. */
function plain(value: GgufValue): unknown {
  if (value.type !== "array") return value.value;
  return Array.from(value.values as ArrayLike<unknown>, (element) =>
    typeof element === "object" && element !== null ? plain(element as GgufValue) : element,
  );
}

/** TextDecoder, which @huggingface/gguf uses, drops byte order marks. */
function withoutMarks(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutMarks);
  return typeof value === "string" && value.startsWith("\ufeff") ? value.slice(1) : value;
}

async function expectSameAsHuggingFace(file: GgufFile): Promise<void> {
  const theirs = await readWithHuggingFace(file.path, { allowLocalFile: true, typedMetadata: true });
  const { version, tensor_count, kv_count, ...metadata } = theirs.typedMetadata as unknown as Record<
    string,
    { value: unknown; type: number; subType?: number }
  >;
  expect(file.version).toBe(version?.value);
  expect(BigInt(file.tensors.size)).toBe(tensor_count?.value);
  expect(BigInt(file.metadata.size)).toBe(kv_count?.value);
  expect([...file.metadata.keys()]).toEqual(Object.keys(metadata));
  for (const [name, value] of file.metadata) {
    expect(GGUF_VALUE_TYPES[metadata[name]?.type ?? -1], name).toBe(value.type);
    expect(withoutMarks(plain(value)), name).toEqual(withoutMarks(metadata[name]?.value));
  }
  expect(
    [...file.tensors.values()].map(({ name, type, dims, offset }) => ({
      name,
      n_dims: dims.length,
      shape: dims.map(BigInt),
      dtype: tensorTypeNumber("gguf", type.name),
      offset: BigInt(offset - file.dataOffset),
    })),
  ).toEqual(theirs.tensorInfos);
}

describe("what our writer writes", () => {
  const tensors = [
    { name: "a", type: WEIGHT_TYPES.f32, dims: [3], data: new Uint8Array(12).fill(1) },
    { name: "b", type: WEIGHT_TYPES.q8_0, dims: [64, 3], data: new Uint8Array(204).fill(2) },
    { name: "c", type: WEIGHT_TYPES.q4_0, dims: [32, 2, 2, 1], data: new Uint8Array(72).fill(3) },
    { name: "d", type: WEIGHT_TYPES.f16, dims: [5, 7], data: new Uint8Array(70).fill(4) },
  ];

  it.each([2, 3] as const)("reads back as it was, version %i", async (version) => {
    const path = join(folder, `v${version}.gguf`);
    await writeGguf(path, { format: "gguf", version, metadata: Object.entries(EVERY_VALUE), tensors });
    const file = await readGguf(path);
    expect(file).toMatchObject({ format: "gguf", version, alignment: 32 });
    expect(new Map(file.metadata)).toEqual(new Map(Object.entries(EVERY_VALUE)));
    expect(
      [...file.tensors.values()].map(({ name, type, dims, bytes }) => ({ name, type, dims, bytes })),
    ).toEqual(tensors.map(({ data, ...spec }) => ({ ...spec, bytes: data.length })));
    await expectSameAsHuggingFace(file);
  });

  it("has tensors on multiples of general.alignment", async () => {
    const path = join(folder, "aligned.gguf");
    const metadata: [string, GgufValue][] = [["general.alignment", { type: "uint32", value: 256 }]];
    await writeGguf(path, { format: "gguf", version: 3, metadata, tensors });
    const file = await readGguf(path);
    expect(file.alignment).toBe(256);
    for (const { offset } of file.tensors.values()) expect(offset % 256).toBe(0);
    expect(file.fileBytes % 256).toBe(0);
    await expectSameAsHuggingFace(file);
  });

  it("reads back from PowerInfer's format, whose integers have numbers of their own", async () => {
    const path = join(folder, "pwri.gguf");
    const int32 = tensorTypeOf("pwri", 18);
    expect(int32?.name).toBe("I32");
    if (int32 === null) return;
    const index = { name: "blk.0.gpu_idx", type: int32, dims: [4], data: new Uint8Array(16) };
    await writeGguf(path, { format: "pwri", version: 3, metadata: [], tensors: [...tensors, index] });
    const file = await readGguf(path);
    expect(file.format).toBe("pwri");
    expect(file.tensors.get("blk.0.gpu_idx")).toMatchObject({ type: { name: "I32" }, bytes: 16 });
  });
});

describe("llama.cpp's vocabularies", () => {
  // Without those that only take long.
  const vocabularies = llamaCppFiles(/^models\/ggml-vocab-(?!command-r|gemma-4|nomic|qwen35).*\.gguf$/);
  it("are there", () => expect(vocabularies.length).toBeGreaterThan(12));

  it.each(vocabularies)("%s reads as @huggingface/gguf reads it", { timeout: 60_000 }, async (path) => {
    await expectSameAsHuggingFace(await readGguf(llamaCppPath(path)));
  });

  it("a header longer than the first window is read whole", async () => {
    const file = await readGguf(llamaCppPath("models/ggml-vocab-gemma-4.gguf"));
    expect(file.metadata.strings("tokenizer.ggml.tokens")).toHaveLength(262_144);
    expect(file.fileBytes).toBeGreaterThan(8 << 20);
  });
});

describe("a damaged file", () => {
  const floats = (count: bigint | number) => Buffer.concat([u32(TYPE.float32), u64(count)]);
  const strings = (count: bigint | number) => Buffer.concat([u32(TYPE.string), u64(count)]);
  const nested = (depth: number): Buffer =>
    depth === 0 ? floats(0) : Buffer.concat([u32(TYPE.array), u64(1), nested(depth - 1)]);
  const alignment = (value: number) => [key("general.alignment", TYPE.uint32, u32(value))];

  it.each([
    ["nothing at all", Buffer.alloc(0), "the magic takes 4 bytes from byte 0, past the file's end at 0"],
    ["another magic", rawGguf({ magic: "GGML" }), 'it begins with "GGML" where "GGUF" or "PWRI" belongs'],
    ["more tensors than fit", rawGguf({ tensorCount: 1000 }), "the number of tensors is 1000 where at most"],
    ["more keys than fit", rawGguf({ keyCount: 2n ** 40n }), "the number of metadata keys is 1099511627776"],
    [
      "a count beyond 2^53",
      rawGguf({ keyCount: 2n ** 64n - 1n }),
      "is 18446744073709551615, beyond any possible file",
    ],
    [
      "a key twice",
      rawGguf({ keys: [...alignment(32), ...alignment(32)] }),
      "general.alignment is listed twice",
    ],
    ["an empty key", rawGguf({ keys: [key("", TYPE.uint8, Buffer.of(1))] }), "a metadata key has 0 bytes"],
    ["a long key", rawGguf({ keys: [key("k".repeat(65_536), TYPE.uint8, Buffer.of(1))] }), "has 65536 bytes"],
    [
      "a key that is not UTF-8",
      rawGguf({ keys: [key(Buffer.of(0xff), TYPE.uint8, Buffer.of(1))] }),
      "is not UTF-8",
    ],
    ["an unknown value type", rawGguf({ keys: [key("k", 13, Buffer.of(1))] }), "has type 13 where 0 to 12"],
    ["a bool of 2", rawGguf({ keys: [key("k", TYPE.bool, Buffer.of(2))] }), "is a bool of 2"],
    ["a long string", rawGguf({ keys: [key("k", TYPE.string, u64(2n ** 50n))] }), "past the file's end"],
    [
      "a long array",
      rawGguf({ keys: [key("k", TYPE.array, floats(2n ** 50n))] }),
      "is 1125899906842624 where at most",
    ],
    [
      "an array of too many strings",
      rawGguf({ keys: [key("k", TYPE.array, strings(100))] }),
      "is 100 where at most",
    ],
    ["an array of unknown type", rawGguf({ keys: [key("k", TYPE.array, u32(99))] }), "has type 99"],
    ["arrays too deep", rawGguf({ keys: [key("k", TYPE.array, nested(4))] }), "nested deeper than 4 levels"],
    ["an alignment of 0", rawGguf({ keys: alignment(0) }), "general.alignment is 0 where a power of two"],
    ["an alignment of 24", rawGguf({ keys: alignment(24) }), "general.alignment is 24 where a power of two"],
    [
      "an alignment in words",
      rawGguf({ keys: [key("general.alignment", TYPE.string, text("32"))] }),
      "general.alignment holds the string 32 where an integer belongs",
    ],
    ["an alignment beyond the file", rawGguf({ keys: alignment(2 ** 31) }), "past the file's end"],
    [
      "a tensor twice",
      rawGguf({ tensors: [tensor({}), tensor({ offset: 32 })], dataBytes: 64 }),
      "is listed twice",
    ],
    ["a tensor without a name", rawGguf({ tensors: [tensor({ name: "" })] }), "a tensor's name has 0 bytes"],
    ["a name that is not UTF-8", rawGguf({ tensors: [tensor({ name: Buffer.of(0xc0) })] }), "is not UTF-8"],
    ["five dimensions", rawGguf({ tensors: [tensor({ dims: [1, 1, 1, 1, 1] })] }), "claims 5 dimensions"],
    ["an empty tensor", rawGguf({ tensors: [tensor({ dims: [8, 0] })] }), "claims 8 x 0 elements"],
    ["dimensions that overflow", rawGguf({ tensors: [tensor({ dims: [2 ** 40, 2 ** 40] })] }), "rules out"],
    ["half a block", rawGguf({ tensors: [tensor({ type: 8, dims: [40] })] }), "wants a multiple of 32"],
    [
      "an offset off the grid",
      rawGguf({ tensors: [tensor({ offset: 8 })], dataBytes: 64 }),
      "not a multiple of 32",
    ],
    ["data past the end", rawGguf({ tensors: [tensor({ offset: 32 })] }), "past the file's end"],
    [
      "tensors that overlap",
      rawGguf({ tensors: [tensor({}), tensor({ name: "u" })] }),
      "tensors t and u overlap",
    ],
  ])("with %s is a DATA_LOSS error", async (_, bytes, message) => {
    const path = join(folder, "damaged.gguf");
    writeFileSync(path, bytes);
    const error = await readGguf(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "ThermoclineError", code: "DATA_LOSS" });
    expect(String(error)).toContain(message);
    expect(String(error)).toContain(path);
  });

  it.each([
    ["version 1", rawGguf({ version: 1 }), "has GGUF version 1; supported: 2 and 3"],
    ["version 4", rawGguf({ version: 4 }), "has GGUF version 4"],
    ["big-endian numbers", rawGguf({ version: 0x03000000 }), "is stored in big-endian order"],
    ["a withdrawn tensor type", rawGguf({ tensors: [tensor({ type: 4 })] }), "has the unknown type 4"],
    ["a future tensor type", rawGguf({ tensors: [tensor({ type: 1000 })] }), "has the unknown type 1000"],
    [
      "an IQ type in PWRI",
      rawGguf({ magic: "PWRI", tensors: [tensor({ type: 20 })] }),
      "has the unknown type 20",
    ],
  ])("with %s is an UNIMPLEMENTED error", async (_, bytes, message) => {
    const path = join(folder, "unsupported.gguf");
    writeFileSync(path, bytes);
    const error = await readGguf(path).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "ThermoclineError", code: "UNIMPLEMENTED" });
    expect(String(error)).toContain(message);
  });

  it("with a header above the limit is refused before it is read", async () => {
    const path = join(folder, "sparse.gguf");
    const length = MAX_HEADER_BYTES + 1;
    writeFileSync(path, rawGguf({ keys: [key("k", TYPE.string, u64(length))] }));
    truncateSync(path, length * 4);
    await expect(readGguf(path)).rejects.toMatchObject({ code: "DATA_LOSS" });
    await expect(readGguf(path)).rejects.toThrow(`above the limit of ${MAX_HEADER_BYTES}`);
  });
});

describe("a path that is no file", () => {
  it("is NOT_FOUND when nothing is there", async () => {
    await expect(readGguf(join(folder, "absent.gguf"))).rejects.toMatchObject({ code: "NOT_FOUND" });
    writeFileSync(join(folder, "plain"), "");
    await expect(readGguf(join(folder, "plain/absent.gguf"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("is INVALID_ARGUMENT when it is a folder", async () => {
    mkdirSync(join(folder, "hf"));
    await expect(readGguf(join(folder, "hf"))).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    await expect(readGguf(join(folder, "hf"))).rejects.toThrow("thermocline convert");
  });
});

describe("metadata getters", () => {
  const read = async () => {
    const path = join(folder, "getters.gguf");
    await writeGguf(path, { format: "gguf", version: 3, metadata: Object.entries(EVERY_VALUE), tensors: [] });
    return (await readGguf(path)).metadata;
  };

  it("give values of their type, whatever its width", async () => {
    const metadata = await read();
    expect(metadata.string("string")).toBe("Grüße, 水\u0000🌊");
    expect(metadata.boolean("yes")).toBe(true);
    expect(metadata.integer("int8")).toBe(-128);
    expect(metadata.number("float64")).toBe(0.1);
    expect(metadata.number("int64")).toBe(-(2 ** 63));
    expect(metadata.strings("strings")).toEqual(["▁a", "", "é", "🌊"]);
    expect(metadata.numbers("floats")).toEqual(Float32Array.of(1.5, -0.25));
  });

  it("give the alternative for an absent key only", async () => {
    const metadata = await read();
    expect(metadata.integer("absent", 7)).toBe(7);
    expect(metadata.string("absent", null)).toBeNull();
    expect(() => metadata.string("uint8", null)).toThrow("uint8 holds the uint8 255 where a string belongs");
  });

  it("name the key and what it holds", async () => {
    const metadata = await read();
    expect(() => metadata.integer("absent")).toThrow("the metadata key absent is missing");
    expect(() => metadata.integer("float32")).toThrow("where an integer belongs");
    expect(() => metadata.integer("uint64")).toThrow("where an integer below 2^53 belongs");
    expect(() => metadata.number("yes")).toThrow("the bool true where a number belongs");
    expect(() => metadata.boolean("uint8")).toThrow("where a bool belongs");
    expect(() => metadata.strings("floats")).toThrow(
      "an array of 2 float32 where an array of strings belongs",
    );
    expect(() => metadata.numbers("longs")).toThrow("where an array of numbers belongs");
    expect(() => metadata.numbers("strings")).toThrow("where an array of numbers belongs");
  });
});
