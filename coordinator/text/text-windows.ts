/** A text file as windows of tokens. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import { Encoder } from "../model/tokenizer/encoder.js";
import { loadTokenizer } from "../model/tokenizer/load-tokenizer.js";
import type { Tokenizer } from "../model/tokenizer.js";
import { TextFile } from "./text-file.js";
import { cutWindows, LEAST_REST } from "./windows.js";

/** The whole text is tokenized at once, so that its tokens are those of any other tool. That takes 150 bytes each. */
const MOST_CHARACTERS = 2 ** 23;
/** Twice what English has. */
const CHARACTERS_PER_TOKEN = 8;
/** Where a text was cut off, its last tokens may be others than those of the whole. */
const TOKENS_BEFORE_CUT = 64;

export interface TextWindowsOptions {
  path: string;
  tokenizer: Pick<Tokenizer, "encode">;
  encoder: Pick<Encoder, "encode">;
  contextLength: number;
  /** Takes the first so many windows, and reads no more of the file than that takes; null takes all. */
  most: number | null;
  /** Whether what is left at the text's end, and fills no window, is read as well. */
  rest: "dropped" | "kept";
  /** The option that asks for so many windows, for messages. */
  limitOption: (windows: number) => string;
  /** Tells what is being tokenized. */
  onTokenizing: (characters: number) => void;
  signal: AbortSignal;
}

/**
 * @returns at least one window
 * @throws ThermoclineError NOT_FOUND, FAILED_PRECONDITION or INVALID_ARGUMENT for a file that is not there, cannot be
 *   read, or is not such a text; or the signal's reason
 */
export async function textWindows(options: TextWindowsOptions): Promise<number[][]> {
  const { path, tokenizer, contextLength, most, rest, signal } = options;
  const file = await TextFile.open(path, signal);
  try {
    const tokens = await tokensOf(file, options);
    // Of an empty text there are only the tokens that begin every sequence.
    const [bos = null] = tokenizer.encode("", true, false);
    return cutWindows(tokens, contextLength, bos, rest).slice(0, most ?? undefined);
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    file.close();
  }
}

async function tokensOf(file: TextFile, options: TextWindowsOptions): Promise<number[]> {
  const { path, encoder, contextLength, most, rest, onTokenizing, signal } = options;
  const least = rest === "kept" ? LEAST_REST : contextLength;
  const needed = most === null ? Number.POSITIVE_INFINITY : most * contextLength + TOKENS_BEFORE_CUT;
  for (let wanted = needed * CHARACTERS_PER_TOKEN; ; wanted *= 4) {
    const { text, isWhole } = await file.read(Math.min(wanted, MOST_CHARACTERS + 1));
    const isCut = text.length > MOST_CHARACTERS;
    if (isCut && most === null) throw tooLong(options);
    if (text === "") {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `${path}: is empty; give a text of at least ${least} tokens, which make one window`,
      );
    }
    onTokenizing(text.length);
    // llama.cpp takes one newline off a file's end.
    const taken = isWhole ? text.replace(/\n$/, "") : text;
    const tokens = await encoder.encode({ text: taken, addSpecial: true, parseSpecial: false }, signal);
    if (isWhole && tokens.length < least) throw tooShort(options, tokens.length, least);
    if (isWhole || tokens.length >= needed) return tokens;
    if (isCut) throw tooLong(options);
  }
}

function tooShort({ path, rest }: TextWindowsOptions, tokens: number, least: number): ThermoclineError {
  const smaller = rest === "kept" ? "" : " or a smaller --ctx";
  return new ThermoclineError(
    "INVALID_ARGUMENT",
    `${path}: has ${tokens} tokens, and a window takes ${least}; give a longer text${smaller}`,
  );
}

function tooLong({ path, contextLength, limitOption }: TextWindowsOptions): ThermoclineError {
  const windows = Math.max(1, Math.floor(MOST_CHARACTERS / CHARACTERS_PER_TOKEN / contextLength));
  return new ThermoclineError(
    "INVALID_ARGUMENT",
    `${path}: what is to be read is longer than ${MOST_CHARACTERS} characters; give less, such as with ` +
      `${limitOption(windows)}, or cut the text into several files`,
  );
}

/**
 * Gives `work` what tokenizes a model's texts, off the event loop where they are long.
 *
 * @param entry the thread's compiled code; the product's own by default
 */
export async function withEncoder<T>(
  model: Model,
  entry: URL | undefined,
  work: (texts: Pick<TextWindowsOptions, "tokenizer" | "encoder">) => Promise<T>,
): Promise<T> {
  const tokenizer = loadTokenizer(model.file);
  const encoder = new Encoder(tokenizer, model, entry);
  try {
    return await work({ tokenizer, encoder });
  } finally {
    await encoder.close();
  }
}
