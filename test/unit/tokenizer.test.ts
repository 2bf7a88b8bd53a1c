/** Tokenizers on small vocabularies made by hand: what vectors of real ones do not reach. */
import { describe, expect, it } from "vitest";
import type { GgufFile } from "../../coordinator/model/gguf.js";
import { GgufMetadata, type GgufValue } from "../../coordinator/model/gguf-metadata.js";
import { BYTE_CHARACTERS } from "../../coordinator/model/tokenizer/byte-level.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { TOKEN_TYPES } from "../../coordinator/model/tokenizer/vocabulary.js";

const { normal, unknown, control, userDefined, byte } = TOKEN_TYPES;
type Entry = readonly [text: string, type: number, score?: number];

function fileWith(entries: readonly Entry[], metadata: Record<string, GgufValue>): GgufFile {
  const vocabulary: Record<string, GgufValue> = {
    "tokenizer.ggml.tokens": { type: "array", of: "string", values: entries.map(([text]) => text) },
    "tokenizer.ggml.token_type": {
      type: "array",
      of: "int32",
      values: Int32Array.from(entries, ([, type]) => type),
    },
    "tokenizer.ggml.scores": {
      type: "array",
      of: "float32",
      values: Float32Array.from(entries, ([, , score]) => score ?? 0),
    },
  };
  return {
    path: "tiny.gguf",
    fileBytes: 0,
    format: "gguf",
    version: 3,
    metadata: new GgufMetadata("tiny.gguf", Object.entries({ ...vocabulary, ...metadata })),
    tensors: new Map(),
    dataOffset: 0,
    alignment: 32,
  };
}

const string = (value: string): GgufValue => ({ type: "string", value });
const bool = (value: boolean): GgufValue => ({ type: "bool", value });
const uint = (value: number): GgufValue => ({ type: "uint32", value });

const BYTE_ENTRIES: Entry[] = Array.from({ length: 256 }, (_, value) => [
  `<0x${value.toString(16).toUpperCase().padStart(2, "0")}>`,
  byte,
]);

describe("SentencePiece", () => {
  const BASE: Entry[] = [
    ["<unk>", unknown],
    ["<s>", control],
    ["</s>", control],
    ["▁", normal, -10],
    ["a", normal, -11],
    ["b", normal, -12],
    ["ab", normal, -1],
    ["ba", normal, -1],
    ["▁a", normal, -3],
    ["▁ab", normal, -2],
    ["<tool>", userDefined],
    ["<|im_end|>", control],
  ];
  const id = (text: string): number => BASE.findIndex(([entry]) => entry === text);
  const spm = (entries: readonly Entry[] = BASE, metadata: Record<string, GgufValue> = {}) =>
    loadTokenizer(fileWith(entries, { "tokenizer.ggml.model": string("llama"), ...metadata }));

  it("joins the best pair first, and the leftmost of equals", () => {
    // "ab" (-1) wins over "▁a" (-3); then "▁ab" (-2). In "▁aba" the left "ab" goes before the equal "ba".
    expect(spm().encode("ab", false, false)).toEqual([id("▁ab")]);
    expect(spm().encode("aba", false, false)).toEqual([id("▁ab"), id("a")]);
    expect(spm().encode("bab", false, false)).toEqual([id("▁"), id("ba"), id("b")]);
  });

  it("puts a beginning and a space in front only where the file wants them", () => {
    expect(spm().encode("ab", true, false)).toEqual([1, id("▁ab")]);
    expect(spm(BASE, { "tokenizer.ggml.add_bos_token": bool(false) }).encode("ab", true, false)).toEqual([
      id("▁ab"),
    ]);
    const bare = spm(BASE, { "tokenizer.ggml.add_space_prefix": bool(false) });
    expect(bare.encode("ab", false, false)).toEqual([id("ab")]);
    expect(bare.decode(bare.encode(" ab", false, false))).toBe(" ab");
    expect(spm().encode("", true, false)).toEqual([1]);
    expect(spm().encode("", false, false)).toEqual([]);
  });

  it("reads control tokens only where told to, user-defined ones always", () => {
    const whole = spm([...BASE, ...BYTE_ENTRIES]);
    expect(whole.encode("ab</s>", false, true)).toEqual([id("▁ab"), id("</s>")]);
    const plain = whole.encode("ab</s>", false, false);
    expect(plain).not.toContain(id("</s>"));
    expect(whole.decode(plain)).toBe("ab</s>");
    expect(whole.encode("ab<tool>ab", false, false)).toEqual([id("▁ab"), id("<tool>"), id("▁ab")]);
  });

  it("writes characters without a piece as bytes, or as unknown where there are none", () => {
    const withBytes = spm([...BASE, ...BYTE_ENTRIES]);
    const tokens = withBytes.encode("aé🦙", false, false);
    expect(tokens).toEqual([
      id("▁a"),
      ...[0xc3, 0xa9, 0xf0, 0x9f, 0xa6, 0x99].map((value) => BASE.length + value),
    ]);
    expect(withBytes.decode(tokens)).toBe("aé🦙");
    expect(spm().encode("aé", false, false)).toEqual([id("▁a"), 0]);
    expect(spm().decode([id("▁a"), 0])).toBe("a \u2047 ");
    const neither = spm(
      BASE.map(([text, type, score]) => [text, type === unknown ? control : type, score ?? 0]),
    );
    expect(() => neither.encode("é", false, false)).toThrow(
      /character "é" has no token: .* neither byte tokens/,
    );
  });

  it("takes only the space away that encoding put in front", () => {
    const tokenizer = spm();
    expect(tokenizer.decode(tokenizer.encode(" ab ab", true, false))).toBe(" ab ab");
    expect(tokenizer.decode([id("▁ab"), 2, id("▁ab")])).toBe("ab ab");
    expect(tokenizer.decode([])).toBe("");
  });

  it("knows what ends generation", () => {
    expect([...BASE.keys()].filter((token) => spm().isEnd(token))).toEqual([2, id("<|im_end|>")]);
    const named = spm(BASE, {
      "tokenizer.ggml.eos_token_id": uint(id("a")),
      "tokenizer.ggml.eot_token_id": uint(id("b")),
    });
    expect([id("a"), id("b"), 2].map((token) => named.isEnd(token))).toEqual([true, true, false]);
  });

  it("names what a damaged vocabulary has wrong", () => {
    const scores: GgufValue = { type: "array", of: "float32", values: new Float32Array(3) };
    expect(() => spm(BASE, { "tokenizer.ggml.scores": scores })).toThrow(
      /scores holds 3 entries for 12 tokens/,
    );
    expect(() => spm(BASE, { "tokenizer.ggml.bos_token_id": uint(99) })).toThrow(
      /bos_token_id is 99, outside the vocabulary of 12 tokens/,
    );
    expect(() => spm([...BASE, ["<0xZZ>", byte]])).toThrow(/byte token 12 reads "<0xZZ>"/);
    expect(() => spm([])).toThrow(/vocabulary .* is empty/);
    expect(() => spm().decode([12])).toThrow(/token 12 does not exist: .* 0 to 11/);
    expect(() => spm().decode([-1])).toThrow(/token -1 does not exist/);
  });
});

describe("byte-level BPE", () => {
  const LETTERS: Entry[] = BYTE_CHARACTERS.map((character) => [character, normal]);
  const BASE: Entry[] = [
    ...LETTERS,
    ["<|endoftext|>", control],
    ["ab", normal],
    ["Ġab", normal],
    ["abab", normal],
    ["  ", userDefined],
  ];
  const id = (text: string): number => BASE.findIndex(([entry]) => entry === text);
  const MERGES = ["a b", "Ġ ab"];
  const bpe = (metadata: Record<string, GgufValue> = {}, entries = BASE, merges = MERGES) =>
    loadTokenizer(
      fileWith(entries, {
        "tokenizer.ggml.model": string("gpt2"),
        "tokenizer.ggml.pre": string("gpt-2"),
        "tokenizer.ggml.merges": { type: "array", of: "string", values: merges },
        "tokenizer.ggml.bos_token_id": uint(256),
        "tokenizer.ggml.eos_token_id": uint(256),
        ...metadata,
      }),
    );

  it("merges by rank, and takes whole words first only where the model does", () => {
    expect(bpe().encode("ab ab", false, false)).toEqual([id("ab"), id("Ġab")]);
    expect(bpe().encode("abab", false, false)).toEqual([id("ab"), id("ab")]);
    const llama3 = bpe({ "tokenizer.ggml.pre": string("llama-bpe") });
    expect(llama3.encode("abab", false, false)).toEqual([id("abab")]);
  });

  it("follows the model's habit of a beginning token where the file says nothing", () => {
    expect(bpe().encode("ab", true, false)).toEqual([id("ab")]);
    expect(bpe({ "tokenizer.ggml.add_bos_token": bool(true) }).encode("ab", true, false)).toEqual([
      256,
      id("ab"),
    ]);
    expect(bpe({ "tokenizer.ggml.pre": string("llama-bpe") }).encode("ab", true, false)).toEqual([
      256,
      id("ab"),
    ]);
    expect(bpe().encode("", true, false)).toEqual([]);
    expect(bpe().decode([])).toBe("");
  });

  it("reads control tokens only where told to, user-defined ones always", () => {
    expect(bpe().encode("ab<|endoftext|>", false, true)).toEqual([id("ab"), 256]);
    expect(bpe().encode("ab<|endoftext|>", false, false)).not.toContain(256);
    expect(bpe().encode("ab   ab", false, false)).toEqual([id("ab"), id("  "), id("Ġab")]);
    expect(bpe().decode([id("ab"), id("  "), 256, id("Ġab")])).toBe("ab   ab");
  });

  it("knows the tokenizer of files older than tokenizer.ggml.pre by their architecture, or says that it cannot", () => {
    const old = (architecture: string) => {
      const file = fileWith(BASE, {
        "general.architecture": string(architecture),
        "tokenizer.ggml.model": string("gpt2"),
        "tokenizer.ggml.merges": { type: "array", of: "string", values: MERGES },
      });
      return loadTokenizer(file);
    };
    expect(old("falcon").encode("1234", false, false)).toHaveLength(4);
    expect(() => old("llama")).toThrow(
      /does not say how text is cut .* "llama" models differ in it; supported are gpt-2/,
    );
    expect(() => bpe({ "tokenizer.ggml.pre": string("tekken") })).toThrow(/wants the pre-tokenizer "tekken"/);
  });

  it("refuses what the library would drop in silence", () => {
    expect(() => bpe({}, BASE, ["a b", "x y"])).toThrow(/merge "x y" .* gives no token/);
    expect(() => bpe({}, BASE, ["ab"])).toThrow(/merge "ab" .* gives no token/);
    const withoutBell = BASE.map(
      ([text, type]): Entry => [text === BYTE_CHARACTERS[7] ? "[gone]" : text, type],
    );
    expect(bpe({}, withoutBell).encode("ab", false, false)).toEqual([id("ab")]);
    expect(() => bpe({}, withoutBell).encode("ab\u0007", false, false)).toThrow(/holds the byte 0x07/);
  });

  it("takes a token that is a property name of objects", () => {
    const strange: Entry[] = [...BASE, ["__proto__", normal], ["constructor", normal]];
    const whole = bpe({ "tokenizer.ggml.pre": string("llama-bpe") }, strange);
    expect(whole.encode("constructor", false, false)).toEqual([BASE.length + 1]);
    expect(whole.decode(whole.encode("__proto__", false, false))).toBe("__proto__");
    expect(whole.decode([BASE.length])).toBe("__proto__");
  });
});

it("names an unknown kind of tokenizer and those that are supported", () => {
  expect(() => loadTokenizer(fileWith([["a", normal]], { "tokenizer.ggml.model": string("rwkv") }))).toThrow(
    /wants the tokenizer "rwkv" .* supported are "llama" \(SentencePiece\) and "gpt2"/,
  );
});
