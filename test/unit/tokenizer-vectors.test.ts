/** Our tokenizers against llama.cpp's own vectors, for every vocabulary in its source tree. */
import { describe, expect, it } from "vitest";
import { readGguf } from "../../coordinator/model/gguf.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../../coordinator/model/tokenizer.js";
import { ThermoclineError } from "../../proto/errors.js";
import { llamaCppFile, llamaCppFiles, llamaCppPath } from "../support/llama-bundle.js";

/** What we refuse, and the value that the refusal must name. */
const UNSUPPORTED: Readonly<Record<string, string>> = {
  // `default` of files older than tokenizer.ggml.pre: the pattern cannot be known.
  aquila: "tokenizer.ggml.pre",
  "gpt-neox": "tokenizer.ggml.pre",
  // WordPiece.
  "bert-bge": '"bert"',
  // Unigram.
  "nomic-bert-moe": '"t5"',
  // BPE over SentencePiece's alphabet.
  "gemma-4": '"gemma4"',
};
/** Supported, but the tree has no vectors for it. */
const WITHOUT_VECTORS: readonly string[] = ["baichuan"];

const SEPARATOR = "\n__ggml_vocab_test__\n";
const names = llamaCppFiles(/^models\/ggml-vocab-.*\.gguf$/).map((path) =>
  path.slice("models/ggml-vocab-".length, -".gguf".length),
);
const supported = names.filter((name) => !(name in UNSUPPORTED));

async function load(name: string): Promise<Tokenizer> {
  return loadTokenizer(await readGguf(llamaCppPath(`models/ggml-vocab-${name}.gguf`)));
}

function vectorsOf(name: string): { text: string; tokens: number[] }[] {
  const texts = llamaCppFile(`models/ggml-vocab-${name}.gguf.inp`).toString("utf8").split(SEPARATOR);
  const lines = llamaCppFile(`models/ggml-vocab-${name}.gguf.out`).toString("utf8").split("\n");
  // Both files end with what separates their entries.
  expect([texts.pop(), lines.pop()]).toEqual(["", ""]);
  expect(texts.length).toBe(lines.length);
  return texts.map((text, index) => ({
    text,
    tokens: (lines[index] ?? "")
      .split(" ")
      .filter((token) => token !== "")
      .map(Number),
  }));
}

describe("llama.cpp's vocabularies", () => {
  it("are the ones this test knows", () => {
    expect(names.length).toBeGreaterThanOrEqual(19);
    for (const name of [...Object.keys(UNSUPPORTED), ...WITHOUT_VECTORS]) expect(names).toContain(name);
  });

  for (const name of supported) {
    it(`${name}: every vector`, async () => {
      const tokenizer = await load(name);
      const vectors = WITHOUT_VECTORS.includes(name) ? [] : vectorsOf(name);
      expect(vectors.length > 0 || WITHOUT_VECTORS.includes(name)).toBe(true);
      for (const { text, tokens } of vectors) {
        expect(tokenizer.encode(text, false, false), JSON.stringify(text)).toEqual(tokens);
        expect(tokenizer.decode(tokens)).toBe(text);
      }
    });
  }

  for (const [name, named] of Object.entries(UNSUPPORTED)) {
    it(`${name}: refused with what is supported`, async () => {
      const refusal = await load(name).then(
        () => null,
        (error: unknown) => error,
      );
      expect(refusal).toBeInstanceOf(ThermoclineError);
      expect(refusal).toMatchObject({ code: "UNIMPLEMENTED", message: expect.stringContaining(named) });
      expect(refusal).toMatchObject({ message: expect.stringMatching(/supported are "?\w/) });
    });
  }
});
