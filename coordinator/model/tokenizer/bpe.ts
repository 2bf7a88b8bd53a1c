/** Byte-level BPE vocabularies with merges (`tokenizer.ggml.model` = "gpt2"): Falcon, Llama 3, Qwen and their kin. */
import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufFile } from "../gguf.js";
import type { Tokenizer, TokenStream } from "../tokenizer.js";
import { BYTE_CHARACTERS, bytesOfCharacters } from "./byte-level.js";
import { type Pretokenizer, pretokenizerOf } from "./pretokenizers.js";
import { SpecialTokens } from "./special-tokens.js";
import { decodeTokens, streamAfter, type TokenBytes } from "./token-stream.js";
import { readVocabulary, requireToken, TOKEN_TYPES, type Vocabulary } from "./vocabulary.js";

const utf8 = new TextEncoder();

export class ByteLevelBpeTokenizer implements Tokenizer, TokenBytes {
  readonly vocabularySize: number;
  readonly bos: number | null;
  readonly addsLeadingSpace = false;
  private readonly vocabulary: Vocabulary;
  private readonly special: SpecialTokens;
  private readonly merger: HuggingFaceTokenizer;
  /** Bytes without a token: real vocabularies lack some that were rare in training. */
  private readonly missingBytes: ReadonlySet<number>;

  /**
   * @throws ThermoclineError UNIMPLEMENTED (an unknown `tokenizer.ggml.pre`), DATA_LOSS (the vocabulary contradicts
   *   itself)
   */
  constructor(file: GgufFile) {
    const pretokenizer = pretokenizerOf(file);
    this.vocabulary = readVocabulary(file, {
      bos: null,
      eos: null,
      addBos: pretokenizer.addBos,
    });
    this.vocabularySize = this.vocabulary.tokens.length;
    this.bos = this.vocabulary.bos;
    this.special = new SpecialTokens(this.vocabulary);
    const texts = new Set(this.vocabulary.tokens);
    this.missingBytes = new Set(
      BYTE_CHARACTERS.flatMap((character, byte) => (texts.has(character) ? [] : [byte])),
    );
    this.merger = createMerger(this.vocabulary, file.metadata.strings("tokenizer.ggml.merges"), pretokenizer);
  }

  isEnd(token: number): boolean {
    return this.vocabulary.ends.has(token);
  }

  encode(text: string, addSpecial: boolean, parseSpecial: boolean): number[] {
    const out: number[] = [];
    if (addSpecial && this.vocabulary.addBos && this.bos !== null) out.push(this.bos);
    for (const part of this.special.split(text, parseSpecial)) {
      if (typeof part === "number") {
        out.push(part);
      } else {
        this.requireBytes(part);
        for (const token of this.merger.encode(part, { add_special_tokens: false }).ids) out.push(token);
      }
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
    if (type === TOKEN_TYPES.control || type === TOKEN_TYPES.unknown) return null;
    const text = this.vocabulary.tokens[token] ?? "";
    return type === TOKEN_TYPES.userDefined ? utf8.encode(text) : bytesOfCharacters(text);
  }

  /** The library drops a byte it finds no token for without a word. */
  private requireBytes(text: string): void {
    if (this.missingBytes.size === 0) return;
    const missing = utf8.encode(text).find((byte) => this.missingBytes.has(byte));
    if (missing === undefined) return;
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `the text holds the byte 0x${missing.toString(16).padStart(2, "0")}, for which the vocabulary of ` +
        `${this.vocabulary.path} has no token; leave that character out`,
    );
  }
}

/**
 * The library's tokenizer for text without special tokens. Those are found by {@link SpecialTokens} instead, since
 * the library would find control tokens in every text.
 */
function createMerger(
  vocabulary: Vocabulary,
  merges: readonly string[],
  pretokenizer: Pretokenizer,
): HuggingFaceTokenizer {
  const ids = new Map<string, number>();
  vocabulary.tokens.forEach((text, token) => {
    const type = vocabulary.types[token];
    if (type !== TOKEN_TYPES.control && type !== TOKEN_TYPES.unknown) ids.set(text, token);
  });
  requireMerges(vocabulary.path, ids, merges);

  return new HuggingFaceTokenizer(
    {
      version: "1.0",
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: {
        type: "Sequence",
        pretokenizers: [
          ...pretokenizer.patterns.map((pattern) => ({
            type: "Split",
            pattern: { Regex: pattern },
            behavior: "Isolated",
            invert: false,
          })),
          { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false },
        ],
      },
      post_processor: null,
      decoder: null,
      model: {
        type: "BPE",
        // fromEntries defines even a token called __proto__ as a plain key.
        vocab: Object.fromEntries(ids),
        merges,
        ignore_merges: pretokenizer.wholeWordsFirst,
      },
    },
    {},
  );
}

/** The library drops what it finds no token for without a word, so every merge must give one. */
function requireMerges(path: string, ids: ReadonlyMap<string, number>, merges: readonly string[]): void {
  for (const merge of merges) {
    const parts = merge.split(" ");
    if (parts.length === 2 && ids.has(parts.join(""))) continue;
    throw new ThermoclineError(
      "DATA_LOSS",
      `${path}: the merge "${merge}" (tokenizer.ggml.merges) gives no token of the vocabulary; convert the model again`,
    );
  }
}
