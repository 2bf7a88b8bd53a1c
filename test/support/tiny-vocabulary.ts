/** The smallest vocabulary a SentencePiece reader takes for whole: three control tokens, the bytes, a few letters. */
import type { GgufValue } from "../../coordinator/model/gguf-metadata.js";

/** `tokenizer.ggml.token_type` (llama.h: enum llama_token_type). */
const NORMAL = 1;
const UNKNOWN = 2;
const CONTROL = 3;
const BYTE = 6;

const letters = ["▁", ..."abcdefghijklmnopqrstuvwxyz", ".", ","];
const pieces: { text: string; type: number; score: number }[] = [
  { text: "<unk>", type: UNKNOWN, score: 0 },
  { text: "<s>", type: CONTROL, score: 0 },
  { text: "</s>", type: CONTROL, score: 0 },
  ...Array.from({ length: 256 }, (_, byte) => ({
    text: `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
    type: BYTE,
    score: 0,
  })),
  ...letters.map((text, rank) => ({ text, type: NORMAL, score: -rank })),
];

/** Tokens in the tiny vocabulary. */
export const TINY_VOCAB = pieces.length;

/** The first token that is a letter rather than a byte or a control token. */
export const FIRST_LETTER = TINY_VOCAB - letters.length;

/** The vocabulary as GGUF metadata. */
export function tinyVocabulary(): [string, GgufValue][] {
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", values: pieces.map(({ text }) => text) }],
    [
      "tokenizer.ggml.scores",
      { type: "array", of: "float32", values: Float32Array.from(pieces, ({ score }) => score) },
    ],
    [
      "tokenizer.ggml.token_type",
      { type: "array", of: "int32", values: Int32Array.from(pieces, ({ type }) => type) },
    ],
    ["tokenizer.ggml.unknown_token_id", { type: "uint32", value: 0 }],
    ["tokenizer.ggml.bos_token_id", { type: "uint32", value: 1 }],
    ["tokenizer.ggml.eos_token_id", { type: "uint32", value: 2 }],
  ];
}
