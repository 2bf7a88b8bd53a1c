/** Streams of tokens give the text of the whole, whatever the cuts. */
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { readGguf } from "../../coordinator/model/gguf.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import type { Tokenizer, TokenStream } from "../../coordinator/model/tokenizer.js";
import { llamaCppPath } from "../support/llama-bundle.js";

const TEXTS = ["🦙 ñandú", "你好, мир\n\n", "e\u0301\u200d😶‍🌫️", "\ufeffbom", "plain words"];

function pushAll(stream: TokenStream, tokens: readonly number[]): string[] {
  return tokens.map((token) => stream.push(token));
}

describe.each(["llama-spm", "gpt-2", "llama-bpe"])("%s", (name) => {
  let tokenizer: Tokenizer;
  /** Tokens of any kind, with those of multi-byte characters often enough to cut between them. */
  let anyTokens: fc.Arbitrary<number[]>;

  beforeAll(async () => {
    tokenizer = loadTokenizer(await readGguf(llamaCppPath(`models/ggml-vocab-${name}.gguf`)));
    const pieces = TEXTS.flatMap((text) => tokenizer.encode(text, false, false));
    const anyToken = fc.oneof(
      fc.integer({ min: 0, max: tokenizer.vocabularySize - 1 }),
      // Byte tokens of SentencePiece and single bytes of byte-level BPE lie at the vocabulary's beginning.
      fc.integer({ min: 0, max: 260 }),
      fc.constantFrom(...pieces),
    );
    anyTokens = fc.array(anyToken, { maxLength: 24 });
  });

  it("pushes and end joined equal decode", () => {
    fc.assert(
      fc.property(anyTokens, (tokens) => {
        const stream = tokenizer.stream([]);
        expect(pushAll(stream, tokens).join("") + stream.end()).toBe(tokenizer.decode(tokens));
      }),
      { seed: 1, numRuns: 2000 },
    );
  });

  it("continues a prompt as if it had been one sequence", () => {
    fc.assert(
      fc.property(anyTokens, anyTokens, (prompt, tokens) => {
        const whole = tokenizer.stream([]);
        pushAll(whole, prompt);
        const stream = tokenizer.stream(prompt);
        expect(pushAll(stream, tokens)).toEqual(pushAll(whole, tokens));
        expect(stream.end()).toBe(whole.end());
      }),
      { seed: 2, numRuns: 500 },
    );
  });

  it("holds back the bytes of an unfinished character, and gives it when it is whole", () => {
    const tokens = tokenizer.encode("x🦙", false, false);
    const stream = tokenizer.stream([]);
    const texts = pushAll(stream, tokens);
    expect(texts.at(-1)).toBe("🦙");
    expect(texts.join("")).toBe("x🦙");
    expect(stream.end()).toBe("");

    const cut = tokenizer.stream([]);
    expect(pushAll(cut, tokens.slice(0, -1)).join("")).toBe("x");
    expect(cut.end()).toBe("\ufffd");
  });

  it("round-trips text", () => {
    const text = fc.string({ unit: "grapheme", maxLength: 40 });
    fc.assert(
      fc.property(text, (value) => {
        expect(tokenizer.decode(tokenizer.encode(value, true, false))).toBe(value);
      }),
      { seed: 3, numRuns: 500 },
    );
  });
});

it("keeps the leading space of a first generated token, which belongs to the text", async () => {
  const tokenizer = loadTokenizer(await readGguf(llamaCppPath("models/ggml-vocab-llama-spm.gguf")));
  const prompt = tokenizer.encode("Once upon", true, false);
  const [a, time] = tokenizer.encode("a time", false, false) as [number, number];
  expect(pushAll(tokenizer.stream(prompt), [a, time])).toEqual([" a", " time"]);
  expect(pushAll(tokenizer.stream([1]), [a, time])).toEqual(["a", " time"]);
});
