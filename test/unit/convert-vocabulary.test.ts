import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readHfConfig } from "../../coordinator/model/convert/hf-config.js";
import { vocabularyMetadata } from "../../coordinator/model/convert/vocabulary.js";
import { GgufMetadata } from "../../coordinator/model/gguf-metadata.js";
import { parseSentencePieceModel } from "../../coordinator/model/sentencepiece-model.js";
import { SPM, spmModel, writeFolder } from "../support/hf-folder.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { HF_CONFIG } from "../support/tiny-hf-model.js";

const folder = temporaryFolder();
let count = 0;

/** Metadata of a folder with these files besides the usual ones. */
async function metadataOf(
  files: Record<string, Uint8Array | object>,
  config: object = {},
): Promise<GgufMetadata> {
  const path = writeFolder(join(folder, String(count++)), {
    "config.json": { ...HF_CONFIG, ...config },
    "tokenizer.model": spmModel({}),
    ...files,
  });
  return new GgufMetadata(path, await vocabularyMetadata(path, await readHfConfig(path)));
}

describe("a SentencePiece model", () => {
  it("reads back as it was written", () => {
    expect(parseSentencePieceModel(spmModel({}), "t")).toEqual({
      pieces: SPM.pieces,
      modelType: 2,
      unknownId: 0,
      bosId: 1,
      eosId: 2,
      padId: -1,
      addDummyPrefix: true,
      removeExtraWhitespaces: false,
      normalizes: false,
    });
    const other = spmModel({ modelType: 1, bosId: -1, addDummyPrefix: false, charsmap: "nfkc" });
    expect(parseSentencePieceModel(other, "t")).toMatchObject({
      modelType: 1,
      bosId: -1,
      addDummyPrefix: false,
      normalizes: true,
    });
  });

  it("that is damaged is a DATA_LOSS error or another model, never anything else", () => {
    const whole = spmModel({});
    const random = new Random(3);
    const parse = (bytes: Uint8Array) => {
      try {
        expect(parseSentencePieceModel(bytes, "t").pieces.length).toBeGreaterThan(0);
      } catch (error) {
        expect(error).toMatchObject({ name: "ThermoclineError", code: "DATA_LOSS" });
      }
    };
    for (let length = 0; length < whole.length; length++) parse(whole.subarray(0, length));
    for (let i = 0; i < 500; i++) {
      const copy = Buffer.from(whole);
      copy[random.integer(copy.length)] = random.integer(256);
      parse(copy);
    }
  });

  it.each([
    ["unigram", { modelType: 1 }, "has model_type 1"],
    ["a normalizer", { charsmap: "nfkc" }, "has a normalization of the text"],
    ["whitespace removed", { removeExtraWhitespaces: true }, "has remove_extra_whitespaces"],
  ])("with %s is UNIMPLEMENTED", async (_, options, message) => {
    const made = metadataOf({ "tokenizer.model": spmModel(options) });
    await expect(made).rejects.toMatchObject({ code: "UNIMPLEMENTED" });
    await expect(made).rejects.toThrow(message);
  });
});

describe("the vocabulary", () => {
  it("has llama.cpp's keys and a token for each row of the embedding", async () => {
    const metadata = await metadataOf({});
    expect(metadata.string("tokenizer.ggml.model")).toBe("llama");
    expect(metadata.strings("tokenizer.ggml.tokens")).toEqual([
      ...SPM.pieces.map(({ text }) => text),
      "[PAD6]",
      "[PAD7]",
    ]);
    expect([...metadata.numbers("tokenizer.ggml.scores")]).toEqual([0, 0, 0, 0, -1, -2.5, -10_000, -10_000]);
    expect([...metadata.numbers("tokenizer.ggml.token_type")]).toEqual([2, 3, 3, 6, 1, 1, 5, 5]);
    expect(metadata.integer("tokenizer.ggml.bos_token_id")).toBe(1);
    expect(metadata.integer("tokenizer.ggml.eos_token_id")).toBe(2);
    expect(metadata.integer("tokenizer.ggml.unknown_token_id")).toBe(0);
    expect(metadata.has("tokenizer.ggml.padding_token_id")).toBe(false);
    expect(metadata.boolean("tokenizer.ggml.add_bos_token")).toBe(true);
    expect(metadata.boolean("tokenizer.ggml.add_space_prefix")).toBe(true);
  });

  it("follows the configs where they say more than the model", async () => {
    const metadata = await metadataOf(
      {
        "added_tokens.json": { "<extra>": 6 },
        "tokenizer_config.json": {
          add_bos_token: false,
          add_prefix_space: false,
          chat_template: "{{ messages }}",
          added_tokens_decoder: {
            1: { content: "<s>", special: true },
            4: { content: "▁", special: false },
            7: { content: "<|end|>", special: true },
          },
        },
      },
      { bos_token_id: 2, eos_token_id: [7, 2] },
    );
    expect(metadata.strings("tokenizer.ggml.tokens").slice(4)).toEqual([" ", "é", "<extra>", "<|end|>"]);
    expect([...metadata.numbers("tokenizer.ggml.token_type")]).toEqual([2, 3, 3, 6, 4, 1, 4, 3]);
    expect([...metadata.numbers("tokenizer.ggml.scores")].slice(6)).toEqual([-1000, -1000]);
    expect(metadata.integer("tokenizer.ggml.bos_token_id")).toBe(2);
    expect(metadata.integer("tokenizer.ggml.eos_token_id")).toBe(7);
    expect(metadata.boolean("tokenizer.ggml.add_bos_token")).toBe(false);
    expect(metadata.boolean("tokenizer.ggml.add_space_prefix")).toBe(false);
    expect(metadata.string("tokenizer.chat_template")).toBe("{{ messages }}");
  });

  it("larger than the embedding is DATA_LOSS", async () => {
    const made = metadataOf({ "added_tokens.json": { "<extra>": 8 } });
    await expect(made).rejects.toMatchObject({ code: "DATA_LOSS" });
    await expect(made).rejects.toThrow("the tokenizer has 9 tokens where config.json's vocab_size is 8");
  });

  it("without tokenizer.model is UNIMPLEMENTED, not guessed", async () => {
    const path = writeFolder(join(folder, "bpe"), { "config.json": HF_CONFIG, "tokenizer.json": {} });
    await expect(vocabularyMetadata(path, await readHfConfig(path))).rejects.toMatchObject({
      code: "UNIMPLEMENTED",
      message: expect.stringContaining("only SentencePiece tokenizers can be converted yet"),
    });
  });
});
