/** Model files written again in another type, by the library and by `thermocline quantize`. */
import { linkSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { quantizeCommand } from "../../coordinator/cli/quantize.js";
import { type GgufFile, type GgufTensor, readGguf } from "../../coordinator/model/gguf.js";
import { type GgufTensorSpec, writeGguf } from "../../coordinator/model/gguf-writer.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import { type RequantizeOptions, requantize } from "../../coordinator/model/requantize.js";
import { FILE_TYPES, STORED_TYPES } from "../../coordinator/model/stored-type.js";
import {
  bytesOf,
  type GgufFormat,
  tensorTypeOf,
  WEIGHT_TYPES,
} from "../../coordinator/model/tensor-types.js";
import { loadProfile } from "../../coordinator/placement/profile.js";
import { profilePath, writeProfile } from "../../coordinator/profile/profile-file.js";
import { profiledModel } from "../../coordinator/profile/profiled-model.js";
import type { WeightType } from "../../native/index.js";
import { profileOf } from "../support/profiles.js";
import { Random } from "../support/random.js";
import { dequantize, quantize } from "../support/stored-rows.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
let count = 0;
const fresh = () => {
  const made = join(folder, String(count++));
  mkdirSync(made);
  return made;
};

const options = (matrices: WeightType, given: Partial<RequantizeOptions> = {}): RequantizeOptions => ({
  types: { matrices, predictors: matrices },
  replace: false,
  onProgress: () => undefined,
  signal: null,
  ...given,
});

const bytesIn = (file: GgufFile, { offset, bytes }: GgufTensor) =>
  readFileSync(file.path).subarray(offset, offset + bytes);

/** A small model whose matrices are whole blocks of every type. */
const wide = await writeTinyModel(join(folder, "wide.pwri"), {
  layers: 2,
  embd: 256,
  headDim: 64,
  ff: 512,
  predictorRank: 256,
  tied: false,
});

/** Writes a file of just these tensors, of zeros where nothing is given. */
async function writeTensors(
  format: GgufFormat,
  tensors: readonly (GgufTensorSpec & { data?: Uint8Array })[],
): Promise<string> {
  const path = join(fresh(), `in.${format}`);
  const zeros = ({ type, dims }: GgufTensorSpec) =>
    new Uint8Array(
      bytesOf(
        type,
        dims.reduce((a, b) => a * b, 1),
      ),
    );
  await writeGguf(path, {
    format,
    version: 3,
    metadata: [["general.architecture", { type: "string", value: "none" }]],
    tensors: tensors.map((tensor) => ({ ...tensor, data: tensor.data ?? zeros(tensor) })),
  });
  return path;
}

describe("a model stored in another type", () => {
  it.each(STORED_TYPES.filter((type) => type !== "bf16"))(
    "has every matrix quantized as %s",
    async (type) => {
      const out = join(fresh(), "out.pwri");
      const result = await requantize(wide.path, out, options(type));
      const [before, after] = [await readGguf(wide.path), await readGguf(out)];
      expect(result).toEqual({
        sourceBytes: before.fileBytes,
        fileBytes: after.fileBytes,
        substitutions: [],
      });
      expect(after).toMatchObject({ format: "pwri", version: 3 });
      expect([...after.tensors.keys()]).toEqual([...before.tensors.keys()]);
      for (const [name, source] of before.tensors) {
        const stored = after.tensors.get(name);
        expect(stored?.dims).toEqual(source.dims);
        expect(stored?.type.weightType, name).toBe(source.dims.length === 1 ? "f32" : type);
        if (stored === undefined) continue;
        const values = await dequantize("f32", bytesIn(before, source), source.elements);
        const expected = await quantize(stored.type.weightType ?? "f32", values);
        expect(bytesIn(after, stored).equals(expected), name).toBe(true);
      }
    },
  );

  it("keeps its metadata but for what tells the type", async () => {
    const out = join(fresh(), "out.pwri");
    await requantize(wide.path, out, options("q6_k"));
    const metadata = new Map((await readGguf(out)).metadata);
    expect(metadata.get("general.file_type")).toEqual({ type: "uint32", value: FILE_TYPES.q6_k });
    expect(metadata.get("general.quantization_version")).toEqual({ type: "uint32", value: 2 });
    metadata.delete("general.file_type");
    metadata.delete("general.quantization_version");
    expect(metadata).toEqual(new Map((await readGguf(wide.path)).metadata));
    const again = join(fresh(), "again.pwri");
    await requantize(out, again, options("q8_0"));
    expect((await readGguf(again)).metadata.integer("general.file_type")).toBe(FILE_TYPES.q8_0);
  });

  it("may have predictors of a type of their own", async () => {
    const out = join(fresh(), "out.pwri");
    await requantize(wide.path, out, options("q4_0", { types: { matrices: "q4_0", predictors: "q8_0" } }));
    const { tensors } = await loadModel(out, { activation: null });
    for (const { name, type, rows } of tensors) {
      if (rows > 1) expect(type, name).toBe(/\.fc[12]\./.test(name) ? "q8_0" : "q4_0");
    }
  });

  it("is the same file when it is stored as it was, however many pieces its tensors have", async () => {
    const random = new Random(5);
    const values = Float32Array.from({ length: 5 * 65_536 * 8 }, () => random.symmetric());
    const data = await quantize("q8_0", values);
    const dims = [65_536, 40];
    const path = await writeTensors("gguf", [{ name: "t", type: WEIGHT_TYPES.q8_0, dims, data }]);
    const out = join(fresh(), "out.gguf");
    const progress: number[] = [];
    const { fileBytes } = await requantize(
      path,
      out,
      options("q8_0", { onProgress: (done, total) => progress.push(done, total) }),
    );
    const [file] = (await readGguf(out)).tensors.values();
    expect(file === undefined ? null : bytesIn(await readGguf(out), file).equals(data)).toBe(true);
    expect(progress).toEqual([16, 32, 40].flatMap((rows) => [(data.length / 40) * rows, fileBytes]));
  });

  it("copies tensors of integers, and widens vectors of halves", async () => {
    const numbers = tensorTypeOf("gguf", 26);
    if (numbers === null) throw new Error("I32 is missing");
    const indices = new Uint8Array(Int32Array.of(3, 1, -2, 9).buffer);
    const halves = await quantize("f16", Float32Array.of(1, 2, 0.5));
    const path = await writeTensors("gguf", [
      { name: "blk.0.gpu_idx", type: numbers, dims: [2, 2], data: indices },
      { name: "norm", type: WEIGHT_TYPES.f16, dims: [3], data: halves },
    ]);
    const out = join(fresh(), "out.gguf");
    await requantize(path, out, options("q4_k"));
    const file = await readGguf(out);
    const [kept, norm] = [...file.tensors.values()];
    if (kept === undefined || norm === undefined) throw new Error("a tensor is missing");
    expect(kept.type.name).toBe("I32");
    expect(bytesIn(file, kept).equals(indices)).toBe(true);
    expect(norm.type.name).toBe("F32");
    expect([...(await dequantize("f32", bytesIn(file, norm), 3))]).toEqual([1, 2, 0.5]);
  });
});

describe("what cannot be stored in another type leaves nothing", () => {
  async function refusal(
    path: string,
    type: WeightType,
    given: Partial<RequantizeOptions> = {},
  ): Promise<unknown> {
    const made = fresh();
    try {
      await requantize(path, join(made, "out.gguf"), options(type, given));
      return null;
    } catch (error) {
      expect(readdirSync(made)).toEqual([]);
      return error;
    }
  }

  it("a type nobody reads", async () => {
    const type = tensorTypeOf("gguf", 11);
    if (type === null) throw new Error("Q3_K is missing");
    expect(
      await refusal(await writeTensors("gguf", [{ name: "t", type, dims: [256, 2] }]), "f16"),
    ).toMatchObject({
      name: "ThermoclineError",
      code: "UNIMPLEMENTED",
      message: expect.stringContaining("tensor t has type Q3_K, which cannot be read as weights"),
    });
  });

  it("a type the format does not have", async () => {
    expect(await refusal(wide.path, "bf16")).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("PWRI files have no type BF16; choose --type f16"),
    });
  });

  it.each([
    [
      Number.NaN,
      "DATA_LOSS",
      /^tensor spoilt: an element is -?nan, which is no weight; get the model again$/,
    ],
    [
      1e5,
      "INVALID_ARGUMENT",
      /^tensor spoilt: an element has the magnitude 100000, beyond the 65504 that f16 reaches; /,
    ],
  ])("an element of %s", async (bad, code, message) => {
    const values = new Float32Array(4 << 20).fill(1);
    values[3 << 20] = bad;
    const path = await writeTensors("gguf", [
      { name: "fine", type: WEIGHT_TYPES.f32, dims: [1024, 64] },
      { name: "spoilt", type: WEIGHT_TYPES.f32, dims: [1024, 4096], data: new Uint8Array(values.buffer) },
    ]);
    expect(await refusal(path, "f16")).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it("an interrupted run", async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    expect(await refusal(wide.path, "q4_k", { onProgress, signal: controller.signal })).toMatchObject({
      code: "CANCELLED",
    });
  });

  it("a file that is not there", async () => {
    expect(await refusal(join(folder, "absent.gguf"), "q4_k")).toMatchObject({ code: "NOT_FOUND" });
  });

  it("the file itself, under whatever name", async () => {
    const path = await writeTensors("gguf", [{ name: "t", type: WEIGHT_TYPES.f32, dims: [32, 2] }]);
    const link = `${path}.link`;
    linkSync(path, link);
    const before = readFileSync(path);
    for (const out of [path, link]) {
      await expect(requantize(path, out, options("f16", { replace: true }))).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
        message: `${out}: is the file to read, too; give the result another name`,
      });
    }
    expect(readFileSync(path).equals(before)).toBe(true);
  });
});

describe("thermocline quantize", () => {
  const run = (...args: string[]) => quantizeCommand().exitOverride().parseAsync(args, { from: "user" });
  const silently = async (work: () => Promise<unknown>) => {
    const stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    try {
      await work();
      return stderr.mock.calls.map(([text]) => String(text)).join("");
    } finally {
      stderr.mockRestore();
    }
  };

  it("says what it wrote", async () => {
    const out = join(fresh(), "out.pwri");
    const said = await silently(() => run(wide.path, out, "--type", "q4_0", "--predictor-type", "q8_0"));
    expect(said).toMatch(/^wrote .*out\.pwri: [\d.]+ MiB as q4_0, predictors as q8_0, from [\d.]+ MiB\n$/);
    expect((await loadModel(out, { activation: null })).hasPredictor).toBe(true);
  });

  it("takes the profile beside the model along", async () => {
    const made = fresh();
    const source = await writeTinyModel(join(made, "in.gguf"), {});
    const counts = new Uint32Array(source.shape.layers * source.shape.ff).fill(3);
    const path = profilePath(source.path);
    await writeProfile(path, profileOf(source, { "a.txt": counts }), await profiledModel(source));
    const out = join(made, "out.gguf");
    const said = await silently(() => run(source.path, out, "--type", "q8_0"));
    expect(said).toContain(
      `\nwrote ${profilePath(out)}: the profile ${path}, since the neurons are the same\n`,
    );
    expect((await loadProfile(await loadModel(out, {}), null))?.tokens).toBe(1000);
  });

  it("names the tensors that got another type", async () => {
    const narrow = await writeTinyModel(join(fresh(), "narrow.gguf"), { downTransposed: false, ff: 256 });
    const out = join(fresh(), "out.gguf");
    expect(await silently(() => run(narrow.path, out, "--type", "q5_k"))).toMatch(
      /^stored as Q8_0, since rows of 64 elements are no whole Q5_K blocks of 256: token_embd\.weight, blk\.\*\.attn_q\.weight, .*blk\.\*\.ffn_up\.weight\nwrote /,
    );
    const { tensors } = await loadModel(out, { activation: null });
    const typeOf = (name: string) => tensors.find((tensor) => tensor.name === name)?.type;
    expect([typeOf("blk.1.ffn_down.weight"), typeOf("blk.1.ffn_up.weight")]).toEqual(["q5_k", "q8_0"]);
  });

  it("replaces a file with --force only", async () => {
    const out = join(fresh(), "there.pwri");
    writeFileSync(out, "precious");
    await expect(run(wide.path, out, "--type", "f16")).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    expect(readFileSync(out, "utf8")).toBe("precious");
    await silently(() => run(wide.path, out, "--type", "f16", "--force"));
    expect(readFileSync(out).subarray(0, 4).toString()).toBe("PWRI");
  });

  it.each([
    ["no type", []],
    ["an unknown type", ["--type", "q5_1"]],
    ["an unknown predictor type", ["--type", "f16", "--predictor-type", "q2_k"]],
  ])("refuses %s", async (_, args) => {
    const made = fresh();
    await silently(() =>
      expect(run(wide.path, join(made, "refused.gguf"), ...args)).rejects.toMatchObject({
        code: expect.stringMatching(/^commander\./),
      }),
    );
    expect(readdirSync(made)).toEqual([]);
  });
});
