import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, vi } from "vitest";
import { inspectCommand, renderReport } from "../../coordinator/cli/inspect.js";
import { type InspectReport, inspectFile } from "../../coordinator/cli/inspect-report.js";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { readGguf } from "../../coordinator/model/gguf.js";
import { writeGguf } from "../../coordinator/model/gguf-writer.js";
import { tensorTypeOf, WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { llamaCppPath } from "../support/llama-bundle.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const report = async (path: string) => inspectFile(await readGguf(path));

describe("the bundled model", () => {
  it("can be run here, and says what it is and under which licence", async () => {
    const found = await report(bundledModelPath());
    expect(found.whyNot).toBeNull();
    expect(found.activation?.activation).toBe("relu");
    expect(found.model).toMatchObject({
      parameters: 3_491_904,
      trainedContextLength: 512,
      downTransposed: true,
      shape: { layers: 5, embd: 192, heads: 6, kvHeads: 2, headDim: 32, ff: 768, vocab: 4096 },
    });
    expect(found.metadata["general.license"]).toEqual({ type: "string", value: "apache-2.0" });
    expect(found.metadata["tokenizer.ggml.tokens"]).toMatchObject({ length: 4096 });
    expect(found.types.map(({ type, tensors }) => [type, tensors])).toEqual([
      ["F16", 36],
      ["F32", 11],
    ]);
  });

  it("is under 10 MB with everything beside it", () => {
    const models = fileURLToPath(new URL("../../models/", import.meta.url));
    const bytes = readdirSync(models).reduce((sum, name) => sum + statSync(join(models, name)).size, 0);
    expect(bytes).toBeLessThan(10e6);
    expect(readdirSync(models)).toContain("README.md");
  });

  it("is shown with its layers on one screen", async () => {
    const lines = renderReport(await report(bundledModelPath())).split("\n");
    expect(lines.length).toBeLessThan(80);
    const text = lines.join("\n");
    expect(text).toContain("activation       relu: metadata key thermocline.feed_forward.activation");
    expect(text).toContain("runs here        yes");
    expect(text).toContain("layers 0 to 4, 1.03 MiB each");
    expect(text).toMatch(/blk\.0\.ffn_down_t\.weight +F16 +192 x 768 +288\.0 KiB/);
    expect(text).toMatch(
      /tokenizer\.ggml\.tokens +string\[4096\] +"<unk>" "<s>" "<\/s>" "<0x00>" "<0x01>" "<0x02>" …/,
    );
  });
});

describe("a file that cannot be run", () => {
  it("says why, and is shown all the same", async () => {
    const found = await report(llamaCppPath("models/ggml-vocab-gpt-2.gguf"));
    expect(found.whyNot).toBe(
      "the architecture gpt2 has no engine yet; supported: llama, bamboo, olmo, orion, stablelm",
    );
    const text = renderReport(found);
    expect(text).toContain("runs here     no: the architecture gpt2 has no engine yet");
    expect(text).toContain("types         (no tensors)");
    expect(text).toMatch(/tokenizer\.ggml\.merges +string\[50000\] +"Ġ t" "Ġ a"/);
  });

  it("because of its tokenizer says so", async () => {
    const { path } = await writeTinyModel(join(folder, "tokenizer.gguf"), {});
    const file = await readGguf(path);
    file.metadata.set("tokenizer.ggml.model", { type: "string", value: "rwkv" });
    expect(inspectFile(file)).toMatchObject({ whyNot: expect.stringContaining('the tokenizer "rwkv"') });
    expect(inspectFile(file).model).not.toBeNull();
  });

  it("names K-quants and layers that differ", async () => {
    const path = join(folder, "kinds.gguf");
    const q4k = tensorTypeOf("gguf", 12);
    if (q4k === null) throw new Error("there is no Q4_K");
    const tensor = (name: string, type = q4k) => ({
      name,
      type,
      dims: [256],
      data: new Uint8Array(type === q4k ? 144 : 1024),
    });
    const tensors = [
      tensor("blk.0.a.weight"),
      tensor("blk.1.a.weight", WEIGHT_TYPES.f32),
      tensor("blk.2.a.weight"),
      tensor("other"),
    ];
    await writeGguf(path, { format: "gguf", version: 3, metadata: [], tensors });
    const text = renderReport(await report(path));
    expect(text).toContain("layers 0, 2, 144 B each");
    expect(text).toContain("layer 1, 1.00 KiB");
    expect(text).toContain("outside the layers, 144 B");
    expect(text).toContain("types         F32 1.00 KiB (1), Q4_K 432 B (3)");
    expect(text).toContain("no: the metadata key general.architecture is missing");
  });
});

describe("thermocline inspect", () => {
  async function output(...args: string[]): Promise<string> {
    const stdout = vi.spyOn(process.stdout, "write").mockReturnValue(true);
    try {
      await inspectCommand().parseAsync(args, { from: "user" });
      return stdout.mock.calls.map(([text]) => String(text)).join("");
    } finally {
      stdout.mockRestore();
    }
  }

  it("prints the report, or with --json the same as data", async () => {
    const { path } = await writeTinyModel(join(folder, "tiny.pwri"), { predictorRank: 32, type: "q8_0" });
    const expected = await report(path);
    expect(await output(path)).toBe(renderReport(expected));
    const data = JSON.parse(await output(path, "--json")) as InspectReport;
    expect(data).toEqual(JSON.parse(JSON.stringify(expected)));
    expect(data.format).toBe("pwri");
    expect(data.model?.hasPredictor).toBe(true);
    expect(await output(path)).toContain("PowerInfer's PWRI, version 3");
  });

  it("shows a threshold of the activation", async () => {
    const { path } = await writeTinyModel(join(folder, "threshold.gguf"), { reluThreshold: 0.01 });
    expect(await output(path)).toContain("activation       relu, threshold 0.01: metadata key");
  });

  it("rejects with a sentence for a file that is not there", async () => {
    await expect(output(join(folder, "absent.gguf"))).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});
