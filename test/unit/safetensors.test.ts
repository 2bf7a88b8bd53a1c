import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { floatTypeOf, Safetensors } from "../../coordinator/model/safetensors.js";
import { f32, safetensorsFile, safetensorsOf, writeFolder } from "../support/hf-folder.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();

describe("a folder of safetensors", () => {
  it("of one file gives tensors and any part of their bytes", async () => {
    const files = {
      "model.safetensors": safetensorsFile({ a: f32([1], [1]), b: f32([2, 3, 4, 5, 6, 7], [2, 3]) }),
    };
    const opened = await Safetensors.openFolder(writeFolder(join(folder, "one"), files));
    const b = opened.tensors.get("b");
    expect(b).toMatchObject({ dtype: "F32", shape: [2, 3], bytes: 24 });
    expect([...opened.tensors.keys()]).toEqual(["a", "b"]);
    if (b !== undefined)
      expect([...new Float32Array((await opened.read(b, 8, 12)).buffer)]).toEqual([4, 5, 6]);
    await opened.close();
  });

  it("of shards gives the tensors of all", async () => {
    const files = {
      "model.safetensors.index.json": { weight_map: { a: "x.safetensors", b: "y.safetensors" } },
      "x.safetensors": safetensorsFile({ a: f32([1, 2], [2]) }),
      "y.safetensors": safetensorsFile({ b: f32([3], [1]) }),
    };
    const opened = await Safetensors.openFolder(writeFolder(join(folder, "shards"), files));
    const [a, b] = [opened.tensors.get("a"), opened.tensors.get("b")];
    if (a !== undefined) expect([...new Float32Array((await opened.read(a, 0, 8)).buffer)]).toEqual([1, 2]);
    if (b !== undefined) expect([...new Float32Array((await opened.read(b, 0, 4)).buffer)]).toEqual([3]);
    expect(opened.tensors.size).toBe(2);
    await opened.close();
  });

  const entry = (offsets: unknown) =>
    JSON.stringify({ a: { dtype: "F32", shape: [1], data_offsets: offsets } });
  it.each([
    ["a file of five bytes", Buffer.alloc(5), "less than a header's length takes"],
    ["a header beyond the file", Buffer.from([255, 255, 255, 255, 255, 255, 255, 127]), "the header claims"],
    ["a header that is no JSON", safetensorsOf("{", Buffer.alloc(4)), "is not valid JSON"],
    [
      "a header without offsets",
      safetensorsOf('{"a":{"dtype":"F32","shape":[1]}}', Buffer.alloc(4)),
      "data_offsets",
    ],
    ["negative offsets", safetensorsOf(entry([-4, 0]), Buffer.alloc(4)), "data_offsets"],
    ["offsets beyond the data", safetensorsOf(entry([0, 8]), Buffer.alloc(4)), "lies at 0 to 8 of 4 bytes"],
    ["offsets in the wrong order", safetensorsOf(entry([4, 0]), Buffer.alloc(4)), "lies at 4 to 0"],
  ])("with %s is a DATA_LOSS error", async (_, bytes, message) => {
    const opened = Safetensors.openFolder(
      writeFolder(join(folder, "damaged"), { "model.safetensors": bytes }),
    );
    const error = await opened.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "ThermoclineError", code: "DATA_LOSS" });
    expect(String(error)).toContain(message);
  });

  it("without its files is NOT_FOUND", async () => {
    const empty = writeFolder(join(folder, "empty"), {});
    await expect(Safetensors.openFolder(empty)).rejects.toMatchObject({ code: "NOT_FOUND" });
    const index = { "model.safetensors.index.json": { weight_map: { a: "gone.safetensors" } } };
    const lacking = writeFolder(join(folder, "lacking"), index);
    await expect(Safetensors.openFolder(lacking)).rejects.toMatchObject({ code: "NOT_FOUND" });
  });

  it("does not follow an index out of the folder", async () => {
    const index = { "model.safetensors.index.json": { weight_map: { a: "../one/model.safetensors" } } };
    await expect(Safetensors.openFolder(writeFolder(join(folder, "outside"), index))).rejects.toThrow(
      "lies outside the folder",
    );
  });

  it("that names a tensor twice is a DATA_LOSS error", async () => {
    const files = {
      "model.safetensors.index.json": { weight_map: { a: "x.safetensors", b: "y.safetensors" } },
      "x.safetensors": safetensorsFile({ a: f32([1], [1]) }),
      "y.safetensors": safetensorsFile({ a: f32([1], [1]) }),
    };
    await expect(Safetensors.openFolder(writeFolder(join(folder, "twice"), files))).rejects.toThrow(
      "tensor a is in another file, too",
    );
  });

  it("may hold types that are no weights, until they are asked for as such", async () => {
    const files = {
      "model.safetensors": safetensorsFile({ ids: { dtype: "I64", shape: [1], data: new Uint8Array(8) } }),
    };
    const opened = await Safetensors.openFolder(writeFolder(join(folder, "integers"), files));
    const ids = opened.tensors.get("ids");
    if (ids === undefined) throw new Error("ids is missing");
    expect(() => floatTypeOf(ids)).toThrow("tensor ids has type I64; supported: F32, F16, BF16");
    await opened.close();
  });
});
