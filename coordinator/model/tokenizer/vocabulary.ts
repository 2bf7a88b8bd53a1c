/** The part of a vocabulary that every tokenizer reads the same way from GGUF metadata (`tokenizer.ggml.*`). */
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufFile } from "../gguf.js";

/** Values of `tokenizer.ggml.token_type`. */
export const TOKEN_TYPES = {
  normal: 1,
  unknown: 2,
  control: 3,
  userDefined: 4,
  unused: 5,
  byte: 6,
} as const;

/** What a tokenizer's format takes for granted where a file says nothing. */
export interface VocabularyDefaults {
  bos: number | null;
  eos: number | null;
  addBos: boolean;
}

export interface Vocabulary {
  /** The model file, for messages. */
  path: string;
  tokens: readonly string[];
  /** One of {@link TOKEN_TYPES} a token. */
  types: Uint8Array;
  bos: number | null;
  /** Stands for what has no token. */
  unknown: number | null;
  /** Tokens that end generation. */
  ends: ReadonlySet<number>;
  /** Whether sequences begin with `bos`. */
  addBos: boolean;
}

/**
 * Chat models end their turn with a token of their own, and files seldom name it: `tokenizer.ggml.eos_token_id` is
 * the one that ends documents. These are the texts in use.
 */
const END_OF_TURN_TEXTS: ReadonlySet<string> = new Set([
  "<|eot_id|>",
  "<|eom_id|>",
  "<|im_end|>",
  "<|end|>",
  "<end_of_turn>",
  "<|endoftext|>",
  "<|end_of_text|>",
  "<EOT>",
  "<｜end▁of▁sentence｜>",
]);

/** @throws ThermoclineError DATA_LOSS when the file contradicts itself */
export function readVocabulary(file: GgufFile, defaults: VocabularyDefaults): Vocabulary {
  const { metadata, path } = file;
  const tokens = metadata.strings("tokenizer.ggml.tokens");
  if (tokens.length === 0) {
    throw new ThermoclineError(
      "DATA_LOSS",
      `${path}: the vocabulary (tokenizer.ggml.tokens) is empty; convert the model again`,
    );
  }
  const types = readTypes(file, tokens.length);

  const tokenId = (key: string, otherwise: number | null): number | null => {
    const id = metadata.integer(key, otherwise);
    if (id === null || (id >= 0 && id < tokens.length)) return id;
    throw new ThermoclineError(
      "DATA_LOSS",
      `${path}: ${key} is ${id}, outside the vocabulary of ${tokens.length} tokens; convert the model again`,
    );
  };

  const ends = new Set<number>();
  for (const end of [
    tokenId("tokenizer.ggml.eos_token_id", defaults.eos),
    tokenId("tokenizer.ggml.eot_token_id", null),
    tokenId("tokenizer.ggml.eom_token_id", null),
  ]) {
    if (end !== null) ends.add(end);
  }
  tokens.forEach((text, token) => {
    const special = types[token] === TOKEN_TYPES.control || types[token] === TOKEN_TYPES.userDefined;
    if (special && END_OF_TURN_TEXTS.has(text)) ends.add(token);
  });

  const firstUnknown = types.indexOf(TOKEN_TYPES.unknown);
  return {
    path,
    tokens,
    types,
    bos: tokenId("tokenizer.ggml.bos_token_id", defaults.bos),
    unknown: tokenId("tokenizer.ggml.unknown_token_id", firstUnknown < 0 ? null : firstUnknown),
    ends,
    addBos: metadata.boolean("tokenizer.ggml.add_bos_token", defaults.addBos),
  };
}

function readTypes(file: GgufFile, count: number): Uint8Array {
  const types = file.metadata.numbers("tokenizer.ggml.token_type", null);
  if (types === null) return new Uint8Array(count).fill(TOKEN_TYPES.normal);
  requireOnePerToken(file.path, "tokenizer.ggml.token_type", types.length, count);
  return Uint8Array.from(types);
}

/** @throws ThermoclineError DATA_LOSS unless a per-token array is as long as the vocabulary */
export function requireOnePerToken(path: string, key: string, length: number, tokens: number): void {
  if (length === tokens) return;
  throw new ThermoclineError(
    "DATA_LOSS",
    `${path}: ${key} holds ${length} entries for ${tokens} tokens; convert the model again`,
  );
}

/** @throws ThermoclineError INVALID_ARGUMENT unless the vocabulary has this token */
export function requireToken(vocabulary: Vocabulary, token: number): void {
  if (Number.isInteger(token) && token >= 0 && token < vocabulary.tokens.length) return;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `token ${token} does not exist: the vocabulary has the tokens 0 to ${vocabulary.tokens.length - 1}`,
  );
}
