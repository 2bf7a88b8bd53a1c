/** SentencePiece vocabularies with scores (`tokenizer.ggml.model` = "llama"): LLaMA, Mistral and their kin. */
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufFile } from "../gguf.js";
import type { Tokenizer, TokenStream } from "../tokenizer.js";
import { mergeBigrams } from "./bigram-merge.js";
import { SpecialTokens } from "./special-tokens.js";
import { decodeTokens, streamAfter, type TokenBytes } from "./token-stream.js";
import {
  readVocabulary,
  requireOnePerToken,
  requireToken,
  TOKEN_TYPES,
  type Vocabulary,
} from "./vocabulary.js";

/** SentencePiece writes a space inside a piece as U+2581. */
const SPACE_MARK = "\u2581";
/** What SentencePiece shows for the unknown token. */
const UNKNOWN_TEXT = " \u2047 ";

const utf8 = new TextEncoder();

export class SentencePieceTokenizer implements Tokenizer, TokenBytes {
  readonly vocabularySize: number;
  readonly bos: number | null;
  readonly addsLeadingSpace: boolean;
  private readonly vocabulary: Vocabulary;
  private readonly special: SpecialTokens;
  private readonly scores: ArrayLike<number>;
  /** Pieces that text may become. */
  private readonly pieces = new Map<string, number>();
  /** For each byte, its token. */
  private readonly byteTokens = new Map<number, number>();
  /** The inverse of `byteTokens`. */
  private readonly tokenBytes = new Map<number, number>();

  /** @throws ThermoclineError DATA_LOSS when the vocabulary contradicts itself */
  constructor(file: GgufFile) {
    // SentencePiece trains with these ids unless told otherwise, and older files rely on that.
    this.vocabulary = readVocabulary(file, { bos: 1, eos: 2, addBos: true });
    const { tokens, types } = this.vocabulary;
    this.vocabularySize = tokens.length;
    this.bos = this.vocabulary.bos;
    this.addsLeadingSpace = file.metadata.boolean("tokenizer.ggml.add_space_prefix", true);
    this.special = new SpecialTokens(this.vocabulary);
    this.scores = file.metadata.numbers("tokenizer.ggml.scores");
    requireOnePerToken(file.path, "tokenizer.ggml.scores", this.scores.length, tokens.length);

    tokens.forEach((text, token) => {
      const type = types[token];
      if (type === TOKEN_TYPES.byte) {
        const byte = parseByteToken(text);
        if (byte === null) {
          throw new ThermoclineError(
            "DATA_LOSS",
            `${file.path}: the byte token ${token} reads "${text}", not <0x00> to <0xFF>; convert the model again`,
          );
        }
        this.byteTokens.set(byte, token);
        this.tokenBytes.set(token, byte);
      } else if (type !== TOKEN_TYPES.control && type !== TOKEN_TYPES.unknown) {
        this.pieces.set(text, token);
      }
    });
  }

  isEnd(token: number): boolean {
    return this.vocabulary.ends.has(token);
  }

  encode(text: string, addSpecial: boolean, parseSpecial: boolean): number[] {
    const out: number[] = [];
    if (addSpecial && this.vocabulary.addBos && this.bos !== null) out.push(this.bos);
    let afterToken = true;
    for (const part of this.special.split(text, parseSpecial)) {
      if (typeof part === "number") {
        out.push(part);
      } else {
        this.encodePlain(this.addsLeadingSpace && afterToken ? ` ${part}` : part, out);
      }
      afterToken = typeof part === "number";
    }
    return out;
  }

  decode(tokens: readonly number[]): string {
    return decodeTokens(tokens, this);
  }

  stream(prompt: readonly number[]): TokenStream {
    return streamAfter(prompt, this);
  }

  bytesOf(token: number): Uint8Array | null {
    requireToken(this.vocabulary, token);
    const type = this.vocabulary.types[token];
    if (type === TOKEN_TYPES.control) return null;
    if (type === TOKEN_TYPES.unknown) return utf8.encode(UNKNOWN_TEXT);
    const byte = this.tokenBytes.get(token);
    if (byte !== undefined) return Uint8Array.of(byte);
    return utf8.encode((this.vocabulary.tokens[token] ?? "").replaceAll(SPACE_MARK, " "));
  }

  private encodePlain(text: string, out: number[]): void {
    const scoreOf = (piece: string): number | null => {
      const token = this.pieces.get(piece);
      return token === undefined ? null : (this.scores[token] ?? null);
    };
    for (const piece of mergeBigrams(text.replaceAll(" ", SPACE_MARK), scoreOf)) {
      const token = this.pieces.get(piece);
      if (token !== undefined) out.push(token);
      else this.encodeBytes(piece, out);
    }
  }

  /** A character without a piece of its own becomes its UTF-8 bytes, or the unknown token where those lack. */
  private encodeBytes(character: string, out: number[]): void {
    const tokens = Array.from(utf8.encode(character), (byte) => this.byteTokens.get(byte));
    if (tokens.every((token) => token !== undefined)) {
      out.push(...tokens);
    } else if (this.vocabulary.unknown !== null) {
      out.push(this.vocabulary.unknown);
    } else {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `the character "${character}" has no token: the vocabulary of ${this.vocabulary.path} has neither byte tokens ` +
          "nor an unknown token; leave the character out",
      );
    }
  }
}

function parseByteToken(text: string): number | null {
  const digits = /^<0x([0-9A-Fa-f]{2})>$/.exec(text)?.[1];
  return digits === undefined ? null : Number.parseInt(digits, 16);
}
