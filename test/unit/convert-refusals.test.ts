/** What `convert` does not do, and that it leaves nothing behind when it does not. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, vi } from "vitest";
import { convertCommand } from "../../coordinator/cli/convert.js";
import { type ConvertOptions, convertFolder } from "../../coordinator/model/convert/convert.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import { f32, safetensorsFile } from "../support/hf-folder.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { HF_CONFIG, hfTensors, hfWeights, writeHfModel } from "../support/tiny-hf-model.js";

const folder = temporaryFolder();
const weights = hfWeights(HF_CONFIG, 1);
let count = 0;

const OPTIONS: ConvertOptions = {
  type: "f16",
  replace: false,
  metadata: new Map(),
  onProgress: () => undefined,
  signal: null,
};

/** Converts a model with these changes; what is thrown, after checking that no file was left. */
async function refusal(
  changes: {
    config?: object;
    tensors?: Parameters<typeof safetensorsFile>[0];
    files?: Record<string, object>;
  },
  options: Partial<ConvertOptions> = {},
): Promise<unknown> {
  const source = writeHfModel(join(folder, String(count++)), { ...HF_CONFIG, ...changes.config }, weights, {
    ...(changes.tensors === undefined ? {} : { "model.safetensors": safetensorsFile(changes.tensors) }),
    ...changes.files,
  });
  const out = join(folder, `out-${count}`);
  mkdirSync(out);
  try {
    await convertFolder(source, join(out, "model.gguf"), { ...OPTIONS, ...options });
    return null;
  } catch (error) {
    expect(readdirSync(out)).toEqual([]);
    return error;
  }
}

describe("a folder that cannot be converted", () => {
  it.each([
    [
      "an unknown activation",
      { hidden_act: "gelu" },
      'hidden_act "gelu" has no engine yet; supported: relu, fatrelu, silu',
    ],
    ["a shifted ReLU", { hidden_act: "shiftrelu" }, 'hidden_act "shiftrelu"'],
    [
      "a sparse architecture without a threshold",
      { architectures: ["SparseLlamaForCausalLM"] },
      "the architecture SparseLlamaForCausalLM has no engine yet; supported: LlamaForCausalLM, MistralForCausalLM",
    ],
    ["another architecture", { architectures: ["OPTForCausalLM"] }, "the architecture OPTForCausalLM"],
    ["biases", { attention_bias: true }, "attention_bias or mlp_bias"],
    ["a sliding window", { sliding_window: 64 }, "sliding_window 64"],
    ["partial rotation", { partial_rotary_factor: 0.5 }, "partial_rotary_factor 0.5"],
    [
      "llama 3's rotary scaling",
      { rope_scaling: { rope_type: "llama3", factor: 8 } },
      "scaling of type llama3",
    ],
    ["heads of no whole width", { num_attention_heads: 5 }, "5 heads of a width of 32"],
  ])("because of %s is UNIMPLEMENTED", async (_, config, message) => {
    const error = await refusal({ config });
    expect(error).toMatchObject({ name: "ThermoclineError", code: "UNIMPLEMENTED" });
    expect(String(error)).toContain(message);
  });

  it("because of a tensor without a place is UNIMPLEMENTED", async () => {
    const tensors = {
      ...hfTensors(weights),
      "model.layers.0.self_attn.q_proj.bias": f32(new Array(32), [32]),
    };
    expect(await refusal({ tensors })).toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining(
        "tensor model.layers.0.self_attn.q_proj.bias belongs to no calculation",
      ),
    });
  });

  it.each([
    ["a config that is no JSON", { files: { "config.json": Buffer.from("{") } }, "is not valid JSON"],
    ["a config without a width", { config: { hidden_size: null } }, "hidden_size"],
    [
      "FATReLU without a threshold",
      { config: { hidden_act: "fatrelu" } },
      'hidden_act is "fatrelu", and its threshold hidden_act_param is missing',
    ],
    [
      "a negative threshold",
      { config: { hidden_act: "fatrelu", hidden_act_param: -0.01 } },
      "hidden_act_param is -0.01 where 0 or a positive number belongs",
    ],
    [
      "a threshold in words",
      { config: { hidden_act: "fatrelu", hidden_act_param: "0.01" } },
      "hidden_act_param",
    ],
    ["a tensor of another shape", { config: { intermediate_size: 96 } }, "has the shape [64, 32]"],
    [
      "too few layers",
      { config: { num_hidden_layers: 3 } },
      "tensor model.layers.2.input_layernorm.weight is missing",
    ],
    ["a missing head", { config: { tie_word_embeddings: false } }, "tensor lm_head.weight is missing"],
  ])("because of %s is DATA_LOSS", async (_, changes, message) => {
    const error = await refusal(changes);
    expect(error).toMatchObject({ name: "ThermoclineError", code: "DATA_LOSS" });
    expect(String(error)).toContain(message);
  });

  it("because there is none is NOT_FOUND", async () => {
    const absent = convertFolder(join(folder, "absent"), join(folder, "absent.gguf"), OPTIONS);
    await expect(absent).rejects.toMatchObject({ code: "NOT_FOUND" });
  });
});

describe("a conversion that fails midway leaves nothing", () => {
  const withNorm = (value: number) => ({
    ...hfTensors(weights),
    "model.norm.weight": f32(new Array(32).fill(value), [32]),
  });
  const withGate = (value: number) => ({
    ...hfTensors(weights),
    "model.layers.1.mlp.gate_proj.weight": f32(new Array(64 * 32).fill(value), [64, 32]),
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])("at a weight of %s", async (value) => {
    expect(await refusal({ tensors: withNorm(value) })).toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringContaining(`tensor output_norm.weight: an element is `),
    });
  });

  it("at a weight beyond the type's reach", async () => {
    expect(await refusal({ tensors: withGate(1e5) })).toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining(
        "tensor blk.1.ffn_gate.weight: an element has the magnitude 100000, beyond the 65504 that f16 reaches",
      ),
    });
    expect(await refusal({ tensors: withGate(1e5) }, { type: "q8_0" })).toBeNull();
  });

  it("when it is interrupted", async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    expect(await refusal({}, { signal: controller.signal, onProgress })).toMatchObject({ code: "CANCELLED" });
  });
});

describe("thermocline convert", () => {
  const source = writeHfModel(join(folder, "cli"), HF_CONFIG, weights);
  const run = (...args: string[]) =>
    convertCommand()
      .exitOverride()
      .parseAsync([source, ...args], { from: "user" });
  const silently = async (work: () => Promise<unknown>) => {
    const stderr = vi.spyOn(process.stderr, "write").mockReturnValue(true);
    try {
      await work();
      return stderr.mock.calls.map(([text]) => String(text)).join("");
    } finally {
      stderr.mockRestore();
    }
  };

  it("writes the file with what the user says of it", async () => {
    const out = join(folder, "cli.gguf");
    const texts = ["general.name=A=B", "general.license=apache-2.0"].flatMap((text) => ["--metadata", text]);
    const said = await silently(() => run("--out", out, "--type", "q4_0", ...texts));
    expect(said).toMatch(/^wrote .*cli\.gguf: [\d.]+ KiB as q4_0\n$/);
    const { name, file, tensors } = await loadModel(out, { activation: null });
    expect(name).toBe("A=B");
    expect(file.metadata.string("general.license")).toBe("apache-2.0");
    expect(tensors.find((tensor) => tensor.name === "token_embd.weight")?.type).toBe("q4_0");
  });

  it("names the tensors whose rows are no whole blocks", async () => {
    const config = { ...HF_CONFIG, intermediate_size: 40, hidden_act: "silu" };
    const odd = writeHfModel(join(folder, "odd"), config, hfWeights(config, 2));
    const out = join(folder, "odd.gguf");
    const args = [odd, "--out", out, "--type", "q8_0"];
    const said = await silently(() => convertCommand().exitOverride().parseAsync(args, { from: "user" }));
    expect(said).toMatch(
      /^stored as F16, since rows of 40 elements are no whole Q8_0 blocks of 32: blk\.\*\.ffn_down\.weight\nwrote /,
    );
    const { tensors } = await loadModel(out, { activation: null });
    expect(tensors.find((tensor) => tensor.name === "blk.1.ffn_down.weight")?.type).toBe("f16");
    expect(tensors.find((tensor) => tensor.name === "blk.1.ffn_up.weight")?.type).toBe("q8_0");
  });

  it("replaces a file with --force only", async () => {
    const out = join(folder, "there.gguf");
    writeFileSync(out, "precious");
    await expect(run("--out", out)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    expect(readFileSync(out, "utf8")).toBe("precious");
    await silently(() => run("--out", out, "--force"));
    expect(readFileSync(out).subarray(0, 4).toString()).toBe("GGUF");
  });

  it.each([
    ["an unknown type", ["--type", "q5_1"]],
    ["a text without a key", ["--metadata", "Apache"]],
    ["a key that is not free text", ["--metadata", "general.alignment=64"]],
  ])("refuses %s", async (_, args) => {
    const out = join(folder, "refused.gguf");
    await silently(() =>
      expect(run("--out", out, ...args)).rejects.toMatchObject({ code: "commander.invalidArgument" }),
    );
    expect(existsSync(out)).toBe(false);
  });
});
