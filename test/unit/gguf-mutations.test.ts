/** Whatever a file holds, reading it ends in a typed error or in something that lies within the file. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { type GgufFile, readGguf } from "../../coordinator/model/gguf.js";
import { parseGgufHeader } from "../../coordinator/model/gguf-header.js";
import type { GgufValue } from "../../coordinator/model/gguf-metadata.js";
import { writeGguf } from "../../coordinator/model/gguf-writer.js";
import { modelOf } from "../../coordinator/model/load-model.js";
import { WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { ThermoclineError } from "../../proto/errors.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();

/** Every kind of value, and two tensors. */
const VALUES: [string, GgufValue][] = [
  ["general.alignment", { type: "uint32", value: 32 }],
  ["s", { type: "string", value: "text" }],
  ["b", { type: "bool", value: true }],
  ["l", { type: "uint64", value: 1n }],
  ["f", { type: "float64", value: 1 }],
  ["words", { type: "array", of: "string", values: ["a", "bc"] }],
  ["numbers", { type: "array", of: "float32", values: Float32Array.of(1, 2, 3) }],
  ["flags", { type: "array", of: "bool", values: [true, false] }],
  [
    "nested",
    { type: "array", of: "array", values: [{ type: "array", of: "int8", values: Int8Array.of(1) }] },
  ],
];

const LIES = [
  0n,
  1n,
  33n,
  2n ** 16n,
  2n ** 31n - 1n,
  2n ** 32n,
  2n ** 40n,
  2n ** 53n - 1n,
  2n ** 53n,
  2n ** 63n,
  2n ** 64n - 1n,
];

let small: Buffer;
let smallHeader: number;
let model: Buffer;
let modelHeader: number;

beforeAll(async () => {
  const path = join(folder, "small.gguf");
  const tensors = [
    { name: "first", type: WEIGHT_TYPES.f32, dims: [8, 2], data: new Uint8Array(64) },
    { name: "second", type: WEIGHT_TYPES.q8_0, dims: [32], data: new Uint8Array(34) },
  ];
  await writeGguf(path, { format: "gguf", version: 3, metadata: VALUES, tensors });
  small = readFileSync(path);
  smallHeader = (await readGguf(path)).dataOffset;
  const tiny = await writeTinyModel(join(folder, "model.pwri"), {
    layers: 1,
    predictorRank: 32,
    type: "q8_0",
  });
  model = readFileSync(tiny.path);
  modelHeader = (await readGguf(tiny.path)).dataOffset;
});

/** Reads a header and, where that works, the model in it. Throws whatever is not a ThermoclineError. */
function outcomeOf(bytes: Buffer): "error" | "header" | "model" {
  const before = process.memoryUsage().arrayBuffers;
  let file: GgufFile;
  try {
    file = parseGgufHeader(bytes, { path: "mutated.gguf", fileBytes: bytes.length });
  } catch (error) {
    expectTyped(error);
    return "error";
  } finally {
    // Arrays of numbers are copies of parts of the file; everything else is on the heap.
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThanOrEqual(bytes.length);
  }
  expectWithinFile(file, bytes.length);
  try {
    modelOf(file, { activation: null });
    return "model";
  } catch (error) {
    expectTyped(error);
    return "header";
  }
}

function expectTyped(error: unknown): void {
  if (!(error instanceof ThermoclineError)) throw error;
  expect(["DATA_LOSS", "UNIMPLEMENTED"]).toContain(error.code);
  expect(error.message).toContain("mutated.gguf");
  expect(error.message.length).toBeLessThan(400);
}

function expectWithinFile(file: GgufFile, fileBytes: number): void {
  let end = file.dataOffset;
  for (const tensor of [...file.tensors.values()].sort((a, b) => a.offset - b.offset)) {
    expect(tensor.offset).toBeGreaterThanOrEqual(end);
    end = tensor.offset + tensor.bytes;
  }
  if (file.tensors.size > 0) expect(end).toBeLessThanOrEqual(fileBytes);
}

/** A copy with `bytes` written over what lies at `position`. */
function overwritten(original: Buffer, position: number, bytes: Uint8Array): Buffer {
  const copy = Buffer.from(original);
  copy.set(bytes.subarray(0, Math.max(0, copy.length - position)), position);
  return copy;
}

function uint64(value: bigint): Buffer {
  const buffer = Buffer.alloc(8);
  buffer.writeBigUInt64LE(value);
  return buffer;
}

describe("a mutated header", () => {
  it("is whole to begin with", () => {
    expect(outcomeOf(small)).toBe("header");
    expect(outcomeOf(model)).toBe("model");
  });

  it("is an error when cut off at any byte", () => {
    for (let length = 0; length < smallHeader + 64 + 34; length++) {
      expect(outcomeOf(small.subarray(0, length)), `cut at ${length}`).toBe("error");
    }
    for (let length = 0; length < modelHeader; length += 7) {
      expect(outcomeOf(model.subarray(0, length)), `cut at ${length}`).toBe("error");
    }
  });

  it("survives any lie in any place", { timeout: 60_000 }, () => {
    const outcomes = { error: 0, header: 0, model: 0 };
    for (let position = 4; position < smallHeader; position++) {
      for (const lie of LIES) outcomes[outcomeOf(overwritten(small, position, uint64(lie)))]++;
    }
    expect(outcomes.error).toBeGreaterThan(outcomes.header);
  });

  it("survives lies in a model's header", { timeout: 60_000 }, () => {
    const random = new Random(1);
    for (let i = 0; i < 1500; i++) {
      const lie = LIES[random.integer(LIES.length)] ?? 0n;
      outcomeOf(
        overwritten(model, random.integer(modelHeader), uint64(lie).subarray(0, 1 + random.integer(8))),
      );
    }
  });

  it("survives flipped bits", { timeout: 60_000 }, () => {
    const random = new Random(2);
    for (let i = 0; i < 1500; i++) {
      const original = i % 2 === 0 ? small : model;
      const header = i % 2 === 0 ? smallHeader : modelHeader;
      const copy = Buffer.from(original);
      for (let flips = 1 + random.integer(4); flips > 0; flips--) {
        const position = random.integer(header);
        copy[position] = (copy[position] ?? 0) ^ (1 << random.integer(8));
      }
      outcomeOf(copy);
    }
  });

  it("survives parts that are missing, doubled or swapped", { timeout: 60_000 }, () => {
    const random = new Random(3);
    for (let i = 0; i < 500; i++) {
      const [a, b] = [random.integer(smallHeader), random.integer(smallHeader)].sort((x, y) => x - y);
      const [from = 0, to = 0] = [a, b];
      const part = small.subarray(from, to);
      outcomeOf(Buffer.concat([small.subarray(0, from), small.subarray(to)]));
      outcomeOf(Buffer.concat([small.subarray(0, to), part, small.subarray(to)]));
      outcomeOf(overwritten(small, random.integer(smallHeader), part));
    }
  });
});

describe("a mutated file on disk", () => {
  it("never makes the reader ask for more memory than the file's size", async () => {
    const random = new Random(4);
    const path = join(folder, "mutated.gguf");
    const allocations = vi.spyOn(Buffer, "allocUnsafe");
    try {
      for (let i = 0; i < 250; i++) {
        const cut = i % 3 === 0 ? random.integer(model.length) : model.length;
        const lie = uint64(LIES[random.integer(LIES.length)] ?? 0n);
        const bytes = overwritten(model, random.integer(modelHeader), lie).subarray(0, cut);
        writeFileSync(path, bytes);
        allocations.mockClear();
        await readGguf(path).catch(expectTyped);
        for (const [size] of allocations.mock.calls) expect(size).toBeLessThanOrEqual(bytes.length);
      }
    } finally {
      allocations.mockRestore();
    }
  });
});
