import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  ACTIVATION_KEY,
  type ActivationOverrides,
  RELU_THRESHOLD_KEY,
} from "../../coordinator/model/activation.js";
import { type GgufFile, readGguf } from "../../coordinator/model/gguf.js";
import { GgufMetadata, type GgufValue } from "../../coordinator/model/gguf-metadata.js";
import { loadModel, modelOf } from "../../coordinator/model/load-model.js";
import type { GgufFormat } from "../../coordinator/model/tensor-types.js";
import { tensorTypeOf } from "../../coordinator/model/tensor-types.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { TINY, type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const uint32 = (value: number): GgufValue => ({ type: "uint32", value });
const float32 = (value: number): GgufValue => ({ type: "float32", value });
const string = (value: string): GgufValue => ({ type: "string", value });

/** The header of a tiny model, changed. It does not name its activation. */
async function header(
  options: Partial<TinyModelOptions>,
  changes: { format?: GgufFormat; set?: Record<string, GgufValue>; remove?: string[] } = {},
): Promise<GgufFile> {
  const { path } = await writeTinyModel(join(folder, "tiny.gguf"), { layers: 2, ...options });
  const file = await readGguf(path);
  const written = [...file.metadata].filter(([key]) => key !== ACTIVATION_KEY);
  const metadata = new GgufMetadata(path, [...written, ...Object.entries(changes.set ?? {})]);
  for (const key of changes.remove ?? []) metadata.delete(key);
  return { ...file, format: changes.format ?? file.format, metadata };
}

/** The same header under another architecture: its name and the prefix of its keys. */
function renamed(file: GgufFile, architecture: string): GgufFile {
  const entries = [...file.metadata].map(([key, value]): [string, GgufValue] => [
    key.replace(/^llama\./, `${architecture}.`),
    key === "general.architecture" ? string(architecture) : value,
  ]);
  return { ...file, metadata: new GgufMetadata(file.path, entries) };
}

/** The same header with one tensor replaced, renamed or (null) removed. */
function withTensor(
  file: GgufFile,
  name: string,
  change: { name?: string; dims?: number[]; type?: number } | null,
) {
  const tensors = new Map(file.tensors);
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`${name} is not there`);
  tensors.delete(name);
  if (change !== null) {
    const type = change.type === undefined ? tensor.type : (tensorTypeOf("gguf", change.type) ?? tensor.type);
    const changed = { ...tensor, name: change.name ?? name, dims: change.dims ?? tensor.dims, type };
    tensors.set(changed.name, changed);
  }
  return { ...file, tensors };
}

const load = (file: GgufFile) => modelOf(file, { activation: null });

describe("a model", () => {
  it("has the shape, tensors and places that were written", async () => {
    const tiny = await writeTinyModel(join(folder, "whole.gguf"), { tied: false, ropeFactors: true });
    const model = await loadModel(tiny.path, { activation: "relu" });
    expect(model.shape).toEqual(tiny.shape);
    const byName = (a: { name: string }, b: { name: string }) => (a.name < b.name ? -1 : 1);
    expect(model.tensors.toSorted(byName)).toEqual(tiny.tensors.toSorted(byName));
    expect(model).toMatchObject({
      path: tiny.path,
      fileBytes: tiny.fileBytes,
      name: "tiny random model",
      architecture: "llama",
      trainedContextLength: TINY.contextLength,
      hasPredictor: false,
      downTransposed: true,
    });
  });

  it("counts weights once, without predictors and rotary factors", async () => {
    const { embd, ff, heads, kvHeads, headDim } = TINY;
    const layer = 2 * embd + 2 * embd * headDim * (heads + kvHeads) + 3 * embd * ff;
    const file = await header({ predictorRank: 32, ropeFactors: true });
    const vocab = file.metadata.strings("tokenizer.ggml.tokens").length;
    expect(load(file).parameters).toBe(vocab * embd + 2 * layer + embd);
  });

  it("without a name is called by its file", async () => {
    expect(load(await header({}, { remove: ["general.name"] })).name).toBe("tiny");
  });

  it("of SiLU kind keeps down-projections as they are", async () => {
    expect(load(await header({ downTransposed: false })).downTransposed).toBe(false);
  });

  it("of PowerInfer's kind has predictors and their threshold", async () => {
    const set = { "powerinfer.sparse_threshold": float32(0.5) };
    const model = load(await header({ predictorRank: 32 }, { set }));
    expect(model).toMatchObject({
      hasPredictor: true,
      shape: { activation: "relu", predictorThreshold: 0.5 },
    });
  });
});

describe("the activation", () => {
  const own = { [ACTIVATION_KEY]: string("relu") };
  it.each([
    ["silu", "llama says nothing", "gguf", {}],
    ["relu", "our own key says so", "gguf", own],
    ["relu", "another converter's key says so", "gguf", { "llama.hidden_activation": string("relu") }],
    ["relu", "PowerInfer's format implies it", "pwri", {}],
    ["relu2", "our own key goes before the format", "pwri", { [ACTIVATION_KEY]: string("relu2") }],
  ] as [string, string, GgufFormat, Record<string, GgufValue>][])(
    "is %s when %s",
    async (activation, _, format, set) => {
      expect(load(await header({}, { format, set })).shape.activation).toBe(activation);
    },
  );

  it("is relu2 for Bamboo", async () => {
    expect(load(renamed(await header({}, { format: "pwri" }), "bamboo")).shape.activation).toBe("relu2");
  });

  it("is what the caller says, whatever the file says", async () => {
    expect(modelOf(await header({}, { set: own }), { activation: "silu" }).shape.activation).toBe("silu");
  });

  it("is an error when the file names one without an engine", async () => {
    const set = { "llama.hidden_activation": string("gelu") };
    const file = await header({}, { set });
    expect(() => load(file)).toThrow('llama.hidden_activation is "gelu"; supported: relu, relu2, silu');
  });
});

describe("the ReLU threshold", () => {
  const threshold = (value: number) => ({ [RELU_THRESHOLD_KEY]: float32(Math.fround(value)) });
  const relu = { [ACTIVATION_KEY]: string("relu") };
  const silu = { [ACTIVATION_KEY]: string("silu") };
  const stored = async (set: Record<string, GgufValue>, given: ActivationOverrides = {}) =>
    modelOf(await header({}, { set }), given).shape;

  it.each<[number, string, Record<string, GgufValue>, ActivationOverrides]>([
    [0, "nothing says another", relu, {}],
    [0.01, "the file says so", { ...relu, ...threshold(0.01) }, {}],
    [0.02, "the caller says so", { ...relu, ...threshold(0.01) }, { reluThreshold: 0.02 }],
    [0, "the caller wants plain ReLU", { ...relu, ...threshold(0.01) }, { reluThreshold: 0 }],
    [0.01, "the caller wants ReLU on up too", { ...relu, ...threshold(0.01) }, { activation: "relu2" }],
    [0, "the caller wants SiLU", { ...relu, ...threshold(0.01) }, { activation: "silu" }],
    [0, "a SiLU model says so", { ...silu, ...threshold(0) }, {}],
  ])("is %d when %s", async (value, _, set, given) => {
    expect((await stored(set, given)).reluThreshold).toBe(Math.fround(value));
  });

  it.each<[string, Record<string, GgufValue>, string]>([
    ["negative", { ...relu, ...threshold(-1) }, "relu_threshold is -1 where 0 or a positive number belongs"],
    ["no number", { ...relu, ...threshold(Number.NaN) }, "NaN where a finite number belongs"],
    [
      "no float32",
      { ...relu, [RELU_THRESHOLD_KEY]: { type: "float64", value: 1e39 } },
      "is 1e+39 where 0 or a positive number belongs",
    ],
    [
      "beside SiLU",
      { ...silu, ...threshold(0.5) },
      "is 0.5 where the activation is silu, which has no threshold",
    ],
  ])("in a file that is %s is DATA_LOSS", async (_, set, message) => {
    const file = await header({}, { set });
    expect(() => load(file)).toThrow(expect.objectContaining({ code: "DATA_LOSS" }));
    expect(() => load(file)).toThrow(message);
  });

  it.each<[string, ActivationOverrides, string]>([
    ["negative", { reluThreshold: -0.01 }, "the ReLU threshold is -0.01; give 0 or a positive number"],
    ["no number", { reluThreshold: Number.NaN }, "the ReLU threshold is NaN"],
    ["no float32", { reluThreshold: 1e39 }, "the ReLU threshold is 1e+39"],
    [
      "beside SiLU",
      { activation: "silu", reluThreshold: 0.01 },
      "its activation is silu, which has no threshold; leave --relu-threshold out",
    ],
  ])("from the caller that is %s is INVALID_ARGUMENT", async (_, given, message) => {
    const file = await header({}, { set: relu });
    expect(() => modelOf(file, given)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => modelOf(file, given)).toThrow(message);
  });
});

describe("the shape", () => {
  it("takes llama's defaults for what a file leaves out", async () => {
    const remove = [
      "attention.key_length",
      "attention.value_length",
      "rope.dimension_count",
      "rope.freq_base",
    ];
    const shape = load(await header({}, { remove: remove.map((key) => `llama.${key}`) })).shape;
    expect(shape).toMatchObject({ headDim: 16, ropeDims: 16, ropeBase: 10_000, ropeScale: 1 });
    const full = await header({ kvHeads: TINY.heads }, { remove: ["llama.attention.head_count_kv"] });
    expect(load(full).shape.kvHeads).toBe(TINY.heads);
  });

  it.each([
    ["llama", { norm: "rms", normEpsilon: Math.fround(1e-5), ropePairs: "adjacent" }],
    ["olmo", { norm: "layer", normEpsilon: Math.fround(1e-5), ropePairs: "adjacent" }],
    ["orion", { norm: "layer", normEpsilon: Math.fround(1e-5), ropePairs: "halves" }],
    ["stablelm", { norm: "layer", normEpsilon: Math.fround(1e-5), ropePairs: "halves" }],
  ] as const)("%s decides norms and rotation", async (architecture, expected) => {
    const file = await header({ architecture });
    const model = load(file);
    expect(model.architecture).toBe(architecture);
    expect(model.shape).toMatchObject(expected);
    expect(model.tensors.length).toBe(file.tensors.size);
  });

  it.each([
    ["a linear factor", { "rope.scaling.type": string("linear"), "rope.scaling.factor": float32(4) }, 0.25],
    ["a factor without a type", { "rope.scaling.factor": float32(2) }, 0.5],
    ["the older key", { "rope.scale_linear": float32(8) }, 0.125],
    ["a factor of 0", { "rope.scaling.type": string("linear"), "rope.scaling.factor": float32(0) }, 1],
    ["the type none", { "rope.scaling.type": string("none"), "rope.scaling.factor": float32(4) }, 1],
  ] as [string, Record<string, GgufValue>, number][])("scales positions by %s", async (_, keys, scale) => {
    const set = Object.fromEntries(Object.entries(keys).map(([key, value]) => [`llama.${key}`, value]));
    expect(load(await header({}, { set })).shape.ropeScale).toBe(scale);
  });

  it.each([
    ["yarn", { "llama.rope.scaling.type": string("yarn") }, "rotary scaling of type yarn"],
    ["experts", { "llama.expert_count": uint32(8) }, "llama.expert_count is 8"],
    ["a sliding window", { "llama.attention.sliding_window": uint32(64) }, "sliding_window is 64"],
    [
      "values of another width",
      { "llama.attention.value_length": uint32(8) },
      "values of 8 beside keys of 16",
    ],
  ] as [string, Record<string, GgufValue>, string][])("with %s is UNIMPLEMENTED", async (_, set, message) => {
    const file = await header({}, { set });
    expect(() => load(file)).toThrow(expect.objectContaining({ code: "UNIMPLEMENTED" }));
    expect(() => load(file)).toThrow(message);
  });

  it("of another architecture is UNIMPLEMENTED", async () => {
    const file = renamed(await header({}, { format: "pwri" }), "falcon");
    expect(() => load(file)).toThrow(
      "the architecture falcon has no engine yet; supported: llama, bamboo, olmo, orion, stablelm",
    );
  });

  it.each([
    ["no layers", { "llama.block_count": uint32(0) }, "llama.block_count is 0 where 1 to"],
    [
      "more layers than tensors",
      { "llama.block_count": uint32(2 ** 31 - 1) },
      "blk.2.attn_norm.weight is missing",
    ],
    ["heads that do not share", { "llama.attention.head_count_kv": uint32(3) }, "4 heads cannot share 3"],
    [
      "odd rotated dimensions",
      { "llama.rope.dimension_count": uint32(15) },
      "15 rotated dimensions do not fit",
    ],
    ["too many rotated dimensions", { "llama.rope.dimension_count": uint32(32) }, "do not fit heads of 16"],
    [
      "an epsilon of 0",
      { "llama.attention.layer_norm_rms_epsilon": float32(0) },
      "is 0 where a positive number",
    ],
    [
      "a width in words",
      { "llama.embedding_length": string("64") },
      "the string 64 where an integer belongs",
    ],
  ] as [string, Record<string, GgufValue>, string][])("with %s is DATA_LOSS", async (_, set, message) => {
    const file = await header({}, { set });
    expect(() => load(file)).toThrow(expect.objectContaining({ code: "DATA_LOSS" }));
    expect(() => load(file)).toThrow(message);
  });
});

describe("tensors", () => {
  it("of a type without kernels are named with what is supported", async () => {
    const file = withTensor(await header({}), "blk.0.ffn_up.weight", { type: 11 });
    expect(() => load(file)).toThrow(
      "tensor blk.0.ffn_up.weight has type Q3_K, which has no kernels yet; " +
        "supported: F32, F16, Q8_0, Q4_0, BF16, Q4_K, Q5_K, Q6_K",
    );
    const norm = withTensor(await header({}), "blk.0.ffn_norm.weight", { type: 1 });
    expect(() => load(norm)).toThrow("tensor blk.0.ffn_norm.weight has type F16; supported for vectors: F32");
  });

  it("that belong to another calculation are named", async () => {
    const file = await header({});
    const bias = withTensor(await header({ tied: false }), "output.weight", {
      name: "blk.0.attn_q.bias",
      dims: [64],
    });
    expect(() => load(bias)).toThrow(expect.objectContaining({ code: "UNIMPLEMENTED" }));
    expect(() => load(bias)).toThrow("tensor blk.0.attn_q.bias belongs to no calculation");
    expect(load(withTensor(file, "output_norm.weight", {})).tensors.length).toBe(file.tensors.size);
  });

  it("LayerNorm's are those of the architecture", async () => {
    const bias = withTensor(await header({ architecture: "orion" }), "blk.1.ffn_norm.bias", null);
    expect(() => load(bias)).toThrow("tensor blk.1.ffn_norm.bias is missing");
    const parallel = withTensor(await header({ architecture: "stablelm" }), "blk.0.ffn_norm.weight", null);
    expect(() => load(parallel)).toThrow(expect.objectContaining({ code: "UNIMPLEMENTED" }));
    expect(() => load(parallel)).toThrow("there is no blk.0.ffn_norm.weight, so that attention and FFN");
    // Files of older OLMos clamp queries, keys and values.
    const clamped = await header(
      { architecture: "olmo" },
      { set: { "olmo.attention.clamp_kqv": float32(8) } },
    );
    expect(() => load(clamped)).toThrow("olmo.attention.clamp_kqv is 8, which no engine can compute yet");
  });

  it.each([
    ["missing", "blk.1.attn_k.weight", null, "tensor blk.1.attn_k.weight is missing"],
    ["of the wrong height", "blk.1.attn_k.weight", { dims: [64, 31] }, "[64, 31] where 32 rows of 64 belong"],
    ["of the wrong width", "token_embd.weight", { dims: [32, 999] }, "[32, 999] where rows of 64 belong"],
    ["of three dimensions", "blk.1.ffn_up.weight", { dims: [64, 96, 2] }, "[64, 96, 2] where 96 rows of 64"],
    ["too long", "blk.0.attn_norm.weight", { dims: [65] }, "[65] where 64 elements belong"],
    [
      "stored both ways",
      "blk.1.ffn_down_t.weight",
      { name: "blk.1.ffn_down.weight", dims: [96, 64] },
      "1 of 2 layers",
    ],
    ["fewer than tokens", "token_embd.weight", { dims: [64, 100] }, "the embedding 100 rows"],
  ] as const)("that are %s are DATA_LOSS", async (_, name, change, message) => {
    const file = withTensor(await header({}), name, change as Parameters<typeof withTensor>[2]);
    expect(() => load(file)).toThrow(expect.objectContaining({ code: "DATA_LOSS" }));
    expect(() => load(file)).toThrow(message);
  });

  it("of half a predictor are DATA_LOSS", async () => {
    const file = withTensor(await header({ predictorRank: 32 }), "blk.0.fc2.weight", null);
    expect(() => load(file)).toThrow("tensor blk.0.fc2.weight is missing");
  });
});
