import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readGguf } from "../../coordinator/model/gguf.js";
import { GgufWriter, layOutGguf, writeGguf } from "../../coordinator/model/gguf-writer.js";
import { WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const header = {
  format: "gguf" as const,
  version: 3 as const,
  metadata: [],
  tensors: [
    { name: "a", type: WEIGHT_TYPES.f32, dims: [3] },
    { name: "b", type: WEIGHT_TYPES.f16, dims: [4] },
  ],
};

describe("a file being written", () => {
  it("takes tensors in pieces of any size and pads between them", async () => {
    const path = join(folder, "pieces.gguf");
    const writer = await GgufWriter.create(path, header, { replace: false });
    for (let i = 1; i <= 12; i++) await writer.write("a", Uint8Array.of(i));
    await writer.write("b", Uint8Array.of(21, 22, 23));
    await writer.write("b", Uint8Array.of(24, 25, 26, 27, 28));
    await writer.finish();
    const bytes = readFileSync(path);
    const { tensors } = await readGguf(path);
    const [a, b] = [tensors.get("a"), tensors.get("b")];
    expect([...bytes.subarray(a?.offset, (a?.offset ?? 0) + 32)]).toEqual([
      ...Array.from({ length: 12 }, (_, i) => i + 1),
      ...new Array(20).fill(0),
    ]);
    expect([...bytes.subarray(b?.offset)]).toEqual([
      21,
      22,
      23,
      24,
      25,
      26,
      27,
      28,
      ...new Array(24).fill(0),
    ]);
    expect(bytes.length).toBe(writer.fileBytes);
    expect(bytes.length).toBe(layOutGguf(header).fileBytes);
  });

  it("has no name until it is whole", async () => {
    const path = join(folder, "whole.gguf");
    const writer = await GgufWriter.create(path, header, { replace: false });
    expect(existsSync(path)).toBe(false);
    await writer.write("a", new Uint8Array(12));
    await expect(writer.finish()).rejects.toThrow("tensor b was not written to its end");
    await writer.discard();
    expect(readdirSync(folder).filter((name) => name.startsWith("whole"))).toEqual([]);
  });

  it("refuses tensors out of order and bytes beyond a tensor's end", async () => {
    const writer = await GgufWriter.create(join(folder, "order.gguf"), header, { replace: false });
    await expect(writer.write("b", new Uint8Array(8))).rejects.toThrow("do not fit tensor a");
    await expect(writer.write("a", new Uint8Array(13))).rejects.toThrow("13 bytes of tensor a");
    await writer.discard();
  });

  it("replaces a file only when told to", async () => {
    const path = join(folder, "there.gguf");
    writeFileSync(path, "precious");
    await expect(GgufWriter.create(path, header, { replace: false })).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
    });
    expect(readFileSync(path, "utf8")).toBe("precious");
    const tensors = header.tensors.map((spec) => ({
      ...spec,
      data: new Uint8Array(spec.name === "a" ? 12 : 8),
    }));
    await writeGguf(path, { ...header, tensors });
    expect((await readGguf(path)).tensors.size).toBe(2);
  });

  it("says so when the folder is missing", async () => {
    const made = GgufWriter.create(join(folder, "absent/model.gguf"), header, { replace: false });
    await expect(made).rejects.toMatchObject({ name: "ThermoclineError", code: "FAILED_PRECONDITION" });
  });

  it("cannot hold types its format has no number for", () => {
    const iq = { name: "IQ2_S", blockSize: 256, blockBytes: 82, weightType: null };
    expect(() =>
      layOutGguf({ ...header, format: "pwri", tensors: [{ name: "t", type: iq, dims: [256] }] }),
    ).toThrow("pwri files have no type IQ2_S");
  });
});
