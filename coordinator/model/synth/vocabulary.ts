/** A SentencePiece vocabulary of any size that says nothing: control and byte tokens, letters, and made-up words. */
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufValue } from "../gguf-metadata.js";
import { TOKEN_TYPES } from "../tokenizer/vocabulary.js";

interface Token {
  text: string;
  type: number;
}

const LETTERS = [..."etaoinshrdlucmfwypvbgkjqxz"];
const FIXED: readonly Token[] = [
  { text: "<unk>", type: TOKEN_TYPES.unknown },
  { text: "<s>", type: TOKEN_TYPES.control },
  { text: "</s>", type: TOKEN_TYPES.control },
  ...Array.from({ length: 256 }, (_, byte) => ({
    text: `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`,
    type: TOKEN_TYPES.byte,
  })),
  ...["\u2581", ...LETTERS].map((text) => ({ text, type: TOKEN_TYPES.normal })),
];

/** Fewest tokens: the control and byte tokens, the space and the letters. */
export const LEAST_VOCABULARY = FIXED.length;

/**
 * The vocabulary as GGUF metadata. Words are numbers written in letters with a space before them, so every one is
 * unlike every other.
 *
 * @throws ThermoclineError INVALID_ARGUMENT for fewer tokens than {@link LEAST_VOCABULARY}
 */
export function syntheticVocabulary(size: number): [string, GgufValue][] {
  if (size < LEAST_VOCABULARY) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `--vocab is ${size}, and control tokens, bytes and letters alone are ${LEAST_VOCABULARY}; give at least that`,
    );
  }
  const tokens = [
    ...FIXED,
    ...Array.from({ length: size - FIXED.length }, (_, index) => ({
      text: `\u2581${word(index)}`,
      type: TOKEN_TYPES.normal,
    })),
  ];
  const flag = (value: boolean): GgufValue => ({ type: "bool", value });
  const id = (value: number): GgufValue => ({ type: "uint32", value });
  return [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.pre", { type: "string", value: "default" }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", values: tokens.map(({ text }) => text) }],
    [
      "tokenizer.ggml.scores",
      {
        type: "array",
        of: "float32",
        values: Float32Array.from(tokens, ({ type }, rank) => (type === TOKEN_TYPES.normal ? -rank : 0)),
      },
    ],
    [
      "tokenizer.ggml.token_type",
      { type: "array", of: "int32", values: Int32Array.from(tokens, ({ type }) => type) },
    ],
    ["tokenizer.ggml.unknown_token_id", id(0)],
    ["tokenizer.ggml.bos_token_id", id(1)],
    ["tokenizer.ggml.eos_token_id", id(2)],
    ["tokenizer.ggml.add_bos_token", flag(true)],
    ["tokenizer.ggml.add_eos_token", flag(false)],
  ];
}

/** 0 is "e", 25 is "z", 26 is "ee", and so on. */
function word(index: number): string {
  let text = "";
  for (let rest = index + 1; rest > 0; rest = Math.floor((rest - 1) / LETTERS.length)) {
    text = (LETTERS[(rest - 1) % LETTERS.length] ?? "") + text;
  }
  return text;
}
