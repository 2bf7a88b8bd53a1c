import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { convertFolder } from "../../coordinator/model/convert/convert.js";
import { readRows } from "../../coordinator/model/convert/tensor-rows.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { Safetensors } from "../../coordinator/model/safetensors.js";
import { bytesOf, WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import type { TensorRef, WeightType } from "../../native/index.js";
import { bf16, f32, type HfTensor, safetensorsFile, writeFolder } from "../support/hf-folder.js";
import { Random } from "../support/random.js";
import { dequantize, quantize } from "../support/stored-rows.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { HF_CONFIG, type HfWeights, hfTensors, hfWeights, writeHfModel } from "../support/tiny-hf-model.js";

const folder = temporaryFolder();
const HEAD_DIM = HF_CONFIG.hidden_size / HF_CONFIG.num_attention_heads;

async function convert(source: string, type: WeightType): Promise<Model> {
  const out = join(source, `${type}.gguf`);
  await convertFolder(source, out, {
    type,
    replace: true,
    metadata: new Map(),
    onProgress: () => undefined,
    signal: null,
  });
  return loadModel(out, { activation: null });
}

function tensorOf(model: Model, name: string): TensorRef {
  const tensor = model.tensors.find((candidate) => candidate.name === name);
  if (tensor === undefined) throw new Error(`${name} is missing`);
  return tensor;
}

function bytesIn(model: Model, name: string): Uint8Array {
  const { offset, rows, cols, type } = tensorOf(model, name);
  return readFileSync(model.path).subarray(offset, offset + bytesOf(WEIGHT_TYPES[type], rows * cols));
}

function valuesIn(model: Model, name: string): Promise<Float32Array> {
  const { rows, cols, type } = tensorOf(model, name);
  return dequantize(type, bytesIn(model, name), rows * cols);
}

function given(weights: HfWeights, name: string): Float32Array {
  const weight = weights.get(name);
  if (weight === undefined) throw new Error(`${name} is missing`);
  return weight.values;
}

function transposed(values: Float32Array, rows: number, cols: number): Float32Array {
  return Float32Array.from(values, (_, i) => values[(i % rows) * cols + Math.floor(i / rows)] ?? Number.NaN);
}

/** matrix · x for a matrix of rows as long as x. */
function multiply(matrix: Float32Array, x: readonly number[]): number[] {
  return Array.from({ length: matrix.length / x.length }, (_, row) =>
    x.reduce((sum, value, col) => sum + value * (matrix[row * x.length + col] ?? Number.NaN), 0),
  );
}

/** Rotates one head at a position; element i of each pair lies at first(i), its partner at second(i). */
function rotate(
  head: readonly number[],
  position: number,
  first: (i: number) => number,
  second: (i: number) => number,
): number[] {
  const out = [...head];
  for (let i = 0; i < head.length / 2; i++) {
    const angle = position * HF_CONFIG.rope_theta ** ((-2 * i) / head.length);
    const [a, b] = [head[first(i)] ?? Number.NaN, head[second(i)] ?? Number.NaN];
    out[first(i)] = a * Math.cos(angle) - b * Math.sin(angle);
    out[second(i)] = a * Math.sin(angle) + b * Math.cos(angle);
  }
  return out;
}

const dot = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, x, i) => sum + x * (b[i] ?? Number.NaN), 0);

describe("a converted folder", () => {
  const weights = hfWeights(HF_CONFIG, 1);

  it("has the config's shape and says what it is", async () => {
    const model = await convert(writeHfModel(join(folder, "shape"), HF_CONFIG, weights), "f32");
    expect(model.shape).toEqual({
      layers: 2,
      embd: 32,
      heads: 4,
      kvHeads: 2,
      headDim: 8,
      ff: 64,
      vocab: 8,
      norm: "rms",
      normEpsilon: Math.fround(1e-5),
      ropeBase: 5000,
      ropeScale: 1,
      ropeDims: 8,
      ropePairs: "adjacent",
      activation: "relu",
      reluThreshold: 0,
      predictorThreshold: 0,
    });
    expect(model).toMatchObject({ name: "shape", trainedContextLength: 128, downTransposed: true });
    expect(model.file.metadata.string("thermocline.feed_forward.activation")).toBe("relu");
    expect(model.parameters).toBe([...weights.values()].reduce((sum, { values }) => sum + values.length, 0));
  });

  it.each(["f32", "f16"] as const)("holds every weight exactly as %s", async (type) => {
    const model = await convert(writeHfModel(join(folder, type), HF_CONFIG, weights), type);
    for (const [from, to] of [
      ["model.embed_tokens", "token_embd"],
      ["model.norm", "output_norm"],
      ["model.layers.1.input_layernorm", "blk.1.attn_norm"],
      ["model.layers.1.self_attn.v_proj", "blk.1.attn_v"],
      ["model.layers.1.self_attn.o_proj", "blk.1.attn_output"],
      ["model.layers.1.post_attention_layernorm", "blk.1.ffn_norm"],
      ["model.layers.1.mlp.gate_proj", "blk.1.ffn_gate"],
      ["model.layers.1.mlp.up_proj", "blk.1.ffn_up"],
    ]) {
      expect(await valuesIn(model, `${to}.weight`), to).toEqual(given(weights, `${from}.weight`));
    }
    expect(tensorOf(model, "blk.0.ffn_norm.weight").type).toBe("f32");
    expect(tensorOf(model, "token_embd.weight").type).toBe(type);
  });

  it("stores the down-projection of a ReLU model one row a neuron", async () => {
    const model = await convert(writeHfModel(join(folder, "relu"), HF_CONFIG, weights), "f32");
    const down = given(weights, "model.layers.0.mlp.down_proj.weight");
    expect(await valuesIn(model, "blk.0.ffn_down_t.weight")).toEqual(transposed(down, 32, 64));
    expect(tensorOf(model, "blk.0.ffn_down_t.weight")).toMatchObject({ rows: 64, cols: 32 });
  });

  it("with FATReLU, as ProSparse has it, is a ReLU model with a threshold", async () => {
    const config = {
      ...HF_CONFIG,
      architectures: ["SparseLlamaForCausalLM"],
      hidden_act: "fatrelu",
      hidden_act_param: 0.01,
    };
    const model = await convert(writeHfModel(join(folder, "fatrelu"), config, weights), "f32");
    expect(model.shape).toMatchObject({ activation: "relu", reluThreshold: Math.fround(0.01) });
    expect(model.downTransposed).toBe(true);
    const { metadata } = model.file;
    expect(metadata.string("thermocline.feed_forward.activation")).toBe("relu");
    expect(metadata.get("thermocline.feed_forward.relu_threshold")).toEqual({
      type: "float32",
      value: Math.fround(0.01),
    });
  });

  it("stores the down-projection of a SiLU model as llama.cpp does", async () => {
    const model = await convert(
      writeHfModel(join(folder, "silu"), { ...HF_CONFIG, hidden_act: "silu" }, weights),
      "f32",
    );
    expect(model.shape.activation).toBe("silu");
    expect(await valuesIn(model, "blk.0.ffn_down.weight")).toEqual(
      given(weights, "model.layers.0.mlp.down_proj.weight"),
    );
  });

  it("attends as Hugging Face's layout does", async () => {
    const model = await convert(writeHfModel(join(folder, "rotary"), HF_CONFIG, weights), "f32");
    const random = new Random(2);
    const [x, y] = [0, 1].map(() => Array.from({ length: 32 }, () => random.symmetric())) as [
      number[],
      number[],
    ];
    const half = HEAD_DIM / 2;
    const halves = [(i: number) => i, (i: number) => i + half] as const;
    const pairs = [(i: number) => 2 * i, (i: number) => 2 * i + 1] as const;
    const head = (values: number[], index: number) => values.slice(index * HEAD_DIM, (index + 1) * HEAD_DIM);
    const theirs = (part: string, input: number[]) =>
      multiply(given(weights, `model.layers.1.self_attn.${part}_proj.weight`), input);
    const converted = {
      q: await valuesIn(model, "blk.1.attn_q.weight"),
      k: await valuesIn(model, "blk.1.attn_k.weight"),
    };
    const ours = (part: "q" | "k", input: number[]) => multiply(converted[part], input);
    for (let index = 0; index < HF_CONFIG.num_attention_heads; index++) {
      const shared = Math.floor(index / 2);
      const expected = dot(
        rotate(head(theirs("q", x), index), 9, ...halves),
        rotate(head(theirs("k", y), shared), 4, ...halves),
      );
      const score = dot(
        rotate(head(ours("q", x), index), 9, ...pairs),
        rotate(head(ours("k", y), shared), 4, ...pairs),
      );
      expect(score).toBeCloseTo(expected, 9);
      // A layout that was not changed would give something else.
      expect(
        dot(
          rotate(head(theirs("q", x), index), 9, ...pairs),
          rotate(head(theirs("k", y), shared), 4, ...pairs),
        ),
      ).not.toBeCloseTo(expected, 1);
    }
  });

  it.each(["q8_0", "q4_0"] as const)("is quantized row by row as %s", async (type) => {
    const model = await convert(writeHfModel(join(folder, type), HF_CONFIG, weights), type);
    expect(bytesIn(model, "token_embd.weight")).toEqual(
      Buffer.from(await quantize(type, given(weights, "model.embed_tokens.weight"))),
    );
    const down = transposed(given(weights, "model.layers.1.mlp.down_proj.weight"), 32, 64);
    expect(bytesIn(model, "blk.1.ffn_down_t.weight")).toEqual(Buffer.from(await quantize(type, down)));
    expect(tensorOf(model, "output_norm.weight").type).toBe("f32");
  });

  it("has a head of its own unless it is tied", async () => {
    const tied = await convert(writeHfModel(join(folder, "tied"), HF_CONFIG, weights), "f32");
    expect(tied.tensors.some(({ name }) => name === "output.weight")).toBe(false);
    const config = { ...HF_CONFIG, tie_word_embeddings: false };
    const untied = hfWeights(config, 3);
    const model = await convert(writeHfModel(join(folder, "untied"), config, untied), "f32");
    expect(await valuesIn(model, "output.weight")).toEqual(given(untied, "lm_head.weight"));
    const redundant = await convert(writeHfModel(join(folder, "redundant"), HF_CONFIG, untied), "f32");
    expect(redundant.tensors.some(({ name }) => name === "output.weight")).toBe(false);
  });

  it("may come in shards and with tensors that follow from the config", async () => {
    const tensors = Object.entries(hfTensors(weights));
    const inverse = { "model.layers.0.self_attn.rotary_emb.inv_freq": f32([1, 2, 3, 4], [4]) };
    const shards: Record<string, Record<string, HfTensor>> = {
      "model-00001-of-00002.safetensors": Object.fromEntries(tensors.slice(0, 7)),
      "model-00002-of-00002.safetensors": { ...Object.fromEntries(tensors.slice(7)), ...inverse },
    };
    const map = Object.entries(shards).flatMap(([file, held]) =>
      Object.keys(held).map((name) => [name, file]),
    );
    const source = writeFolder(writeHfModel(join(folder, "shards"), HF_CONFIG, weights), {
      "model.safetensors": Buffer.from("not looked at"),
      "model.safetensors.index.json": { weight_map: Object.fromEntries(map) },
      ...Object.fromEntries(Object.entries(shards).map(([file, held]) => [file, safetensorsFile(held)])),
    });
    const [one, two] = [
      await convert(writeHfModel(join(folder, "one"), HF_CONFIG, weights), "f16"),
      await convert(source, "f16"),
    ];
    for (const { name } of one.tensors) expect(bytesIn(two, name), name).toEqual(bytesIn(one, name));
  });

  it("may stretch positions linearly", async () => {
    const config = { ...HF_CONFIG, rope_scaling: { type: "linear", factor: 4 } };
    const model = await convert(writeHfModel(join(folder, "linear"), config, weights), "f32");
    expect(model.shape.ropeScale).toBe(0.25);
  });
});

describe("rows", () => {
  /** Concatenated blocks of a tensor, and how many there were. */
  async function rowsOf(
    tensor: HfTensor,
    arrangement: "as-is" | "rotary" | "transpose",
    rows: number,
    cols: number,
    blockElements: number,
  ) {
    const files = { "model.safetensors": safetensorsFile({ t: tensor }) };
    const opened = await Safetensors.openFolder(writeFolder(join(folder, "rows"), files));
    try {
      const source = opened.tensors.get("t");
      if (source === undefined) throw new Error("t is missing");
      const spec = { name: "t", type: WEIGHT_TYPES.f32, dims: [cols, rows] };
      const blocks: Uint8Array[] = [];
      const planned = { source, spec, type: "f32" as const, arrangement, rows, cols };
      for await (const block of readRows(opened, planned, 4, blockElements)) blocks.push(block);
      const float = ({ F32: "f32", F16: "f16", BF16: "bf16", I64: null } as const)[tensor.dtype];
      if (float === null) throw new Error("integers are no weights");
      const bytes = Buffer.concat(blocks);
      return { blocks: blocks.length, values: [...(await dequantize(float, bytes, rows * cols))] };
    } finally {
      await opened.close();
    }
  }
  const counted = Array.from({ length: 96 }, (_, i) => i);

  it.each(["as-is", "rotary", "transpose"] as const)(
    "come out %s the same whatever the size of a block",
    async (how) => {
      const shape = how === "transpose" ? [8, 12] : [12, 8];
      const whole = await rowsOf(bf16(counted, shape), how, 12, 8, 1000);
      expect(whole.blocks).toBe(1);
      for (const blockElements of [1, 8, 17, 40]) {
        const parts = await rowsOf(bf16(counted, shape), how, 12, 8, blockElements);
        expect(parts.blocks).toBeGreaterThan(1);
        expect(parts.values).toEqual(whole.values);
      }
    },
  );

  it("come out as they went in, transposed, or with the halves of each head interleaved", async () => {
    expect((await rowsOf(f32(counted, [12, 8]), "as-is", 12, 8, 30)).values).toEqual(counted);
    const values = Float32Array.from(counted);
    expect((await rowsOf(f32(counted, [8, 12]), "transpose", 12, 8, 30)).values).toEqual([
      ...transposed(values, 8, 12),
    ]);
    const order = [0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11];
    expect((await rowsOf(f32(counted, [12, 8]), "rotary", 12, 8, 30)).values).toEqual(
      order.flatMap((row) => counted.slice(row * 8, row * 8 + 8)),
    );
  });

  it("of another size than their shape says are DATA_LOSS", async () => {
    await expect(rowsOf({ ...f32(counted, [12, 8]), dtype: "F16" }, "as-is", 12, 8, 30)).rejects.toThrow(
      "tensor t takes 384 bytes where its shape and type ask for 192",
    );
  });
});
