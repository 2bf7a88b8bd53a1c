/** Turns a Hugging Face folder's tokenizer into GGUF metadata, under llama.cpp's keys. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufValue } from "../gguf-metadata.js";
import { readJsonFile } from "../json-file.js";
import {
  PIECE_TYPES,
  type Piece,
  parseSentencePieceModel,
  type SentencePieceModel,
} from "../sentencepiece-model.js";
import type { HfConfig } from "./hf-config.js";

/** Scores llama.cpp's converter gives to tokens that merging must never produce. */
const ADDED_SCORE = -1000;
const PADDING_SCORE = -10_000;

const BPE = 2;

const AddedTokens = z.record(z.string(), z.int().nonnegative());
const TokenizerConfig = z.looseObject({
  add_bos_token: z.boolean().nullish(),
  add_eos_token: z.boolean().nullish(),
  add_prefix_space: z.boolean().nullish(),
  chat_template: z.unknown().optional(),
  added_tokens_decoder: z
    .record(
      z.string().regex(/^\d+$/),
      z.looseObject({ content: z.string(), special: z.boolean().default(false) }),
    )
    .default({}),
});

/**
 * @throws ThermoclineError NOT_FOUND or UNIMPLEMENTED when the folder has no SentencePiece model, DATA_LOSS when a
 *   file is not what it should be, UNIMPLEMENTED for a kind of SentencePiece model our tokenizer does not follow
 */
export async function vocabularyMetadata(folder: string, config: HfConfig): Promise<[string, GgufValue][]> {
  const model = await readModel(folder);
  const settings =
    (await readJsonFile(join(folder, "tokenizer_config.json"), TokenizerConfig)) ?? TokenizerConfig.parse({});
  const pieces = await allPieces(folder, config, model, settings);
  const types = Int32Array.from(pieces, (piece) => piece.type);
  const metadata: [string, GgufValue][] = [
    ["tokenizer.ggml.model", { type: "string", value: "llama" }],
    ["tokenizer.ggml.pre", { type: "string", value: "default" }],
    ["tokenizer.ggml.tokens", { type: "array", of: "string", values: pieces.map((piece) => piece.text) }],
    [
      "tokenizer.ggml.scores",
      { type: "array", of: "float32", values: Float32Array.from(pieces, (piece) => piece.score) },
    ],
    ["tokenizer.ggml.token_type", { type: "array", of: "int32", values: types }],
  ];
  const ids: [string, number][] = [
    ["tokenizer.ggml.bos_token_id", config.bosId ?? model.bosId],
    ["tokenizer.ggml.eos_token_id", config.eosId ?? model.eosId],
    ["tokenizer.ggml.unknown_token_id", model.unknownId],
    ["tokenizer.ggml.padding_token_id", model.padId],
  ];
  for (const [key, id] of ids) {
    if (id >= 0 && id < pieces.length) metadata.push([key, { type: "uint32", value: id }]);
  }
  const flags: [string, boolean][] = [
    ["tokenizer.ggml.add_bos_token", settings.add_bos_token ?? true],
    ["tokenizer.ggml.add_eos_token", settings.add_eos_token ?? false],
    ["tokenizer.ggml.add_space_prefix", settings.add_prefix_space ?? model.addDummyPrefix],
  ];
  for (const [key, value] of flags) metadata.push([key, { type: "bool", value }]);
  if (typeof settings.chat_template === "string") {
    metadata.push(["tokenizer.chat_template", { type: "string", value: settings.chat_template }]);
  }
  return metadata;
}

async function readModel(folder: string): Promise<SentencePieceModel> {
  const path = join(folder, "tokenizer.model");
  const bytes = await readFile(path).catch((error: unknown) => {
    throw new ThermoclineError(
      "UNIMPLEMENTED",
      `${path}: cannot be read (${String(error)}); only SentencePiece tokenizers can be converted yet, not ` +
        "tokenizer.json alone",
      { cause: error },
    );
  });
  const model = parseSentencePieceModel(bytes, path);
  const variant =
    model.modelType !== BPE
      ? `model_type ${model.modelType}`
      : model.normalizes
        ? "a normalization of the text"
        : model.removeExtraWhitespaces
          ? "remove_extra_whitespaces"
          : null;
  if (variant === null) return model;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${path}: has ${variant}, which the tokenizer does not do; supported: BPE on the text as it is`,
  );
}

/** One piece for each row of the embedding: the model's own, those added later, and padding. */
async function allPieces(
  folder: string,
  config: HfConfig,
  model: SentencePieceModel,
  settings: z.infer<typeof TokenizerConfig>,
): Promise<Piece[]> {
  const pieces = [...model.pieces];
  const added = new Map<number, Piece>();
  const addedFile = join(folder, "added_tokens.json");
  for (const [text, id] of Object.entries((await readJsonFile(addedFile, AddedTokens)) ?? {})) {
    added.set(id, { text, score: ADDED_SCORE, type: PIECE_TYPES.userDefined });
  }
  for (const [id, { content, special }] of Object.entries(settings.added_tokens_decoder)) {
    const own = model.pieces[Number(id)];
    // The tokenizer's own special tokens are listed here again; what the model says of them stands.
    if (own?.text === content && own.type !== PIECE_TYPES.normal) continue;
    added.set(Number(id), {
      // Text is searched for these tokens before spaces are marked.
      text: special ? content : content.replaceAll("\u2581", " "),
      score: ADDED_SCORE,
      type: special ? PIECE_TYPES.control : PIECE_TYPES.userDefined,
    });
  }
  const count = Math.max(pieces.length, ...[...added.keys()].map((id) => id + 1));
  if (count > config.vocab) {
    throw new ThermoclineError(
      "DATA_LOSS",
      `${folder}: the tokenizer has ${count} tokens where config.json's vocab_size is ${config.vocab}; ` +
        "get the model again",
    );
  }
  for (let id = pieces.length; id < config.vocab; id++) {
    pieces.push({ text: `[PAD${id}]`, score: PADDING_SCORE, type: PIECE_TYPES.unused });
  }
  for (const [id, piece] of added) pieces[id] = piece;
  return pieces;
}
