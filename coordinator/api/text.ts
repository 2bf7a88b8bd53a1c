/** Text and tokens as they come in, within bounds. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Encoder } from "../model/tokenizer/encoder.js";
import type { Tokenizer } from "../model/tokenizer.js";

/** A text takes its share of tokenizing up to a context full of long tokens, and never less than this. */
const LEAST_MOST_CHARACTERS = 65_536;
/** Vocabularies hold longer tokens (runs of blanks), but no text is made of those alone. */
const CHARACTERS_A_TOKEN = 16;
/** What is turned into text at once: a context full, and never less than this, which takes 10 ms. */
const LEAST_MOST_TOKENS = 65_536;

/**
 * Special tokens written out in the text are read as such: whoever has the whole prompt in hand writes them on
 * purpose, and `prompt_tokens` is there for those who do not.
 * @param field its name, for the error
 * @throws ThermoclineError INVALID_ARGUMENT for a text that is too long, and those of {@link Encoder.encode}
 */
export async function tokenize(
  field: string,
  text: string,
  addSpecial: boolean,
  encoder: Pick<Encoder, "encode">,
  contextLength: number,
  signal: AbortSignal,
): Promise<number[]> {
  const most = Math.max(LEAST_MOST_CHARACTERS, CHARACTERS_A_TOKEN * contextLength);
  if (text.length > most) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `${field} has ${text.length} characters, and this server with its context of ${contextLength} tokens takes at ` +
        `most ${most} at once; shorten it or serve with a larger --ctx`,
    );
  }
  return encoder.encode({ text, addSpecial, parseSpecial: true }, signal);
}

/** @throws ThermoclineError INVALID_ARGUMENT for too many tokens or for one outside of the vocabulary */
export function detokenize(tokens: readonly number[], tokenizer: Tokenizer, contextLength: number): string {
  const most = Math.max(LEAST_MOST_TOKENS, contextLength);
  if (tokens.length > most) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `there are ${tokens.length} tokens, and this server turns at most ${most} into text at once; give fewer`,
    );
  }
  checkTokens("tokens", tokens, tokenizer);
  return tokenizer.decode(tokens);
}

/** @throws ThermoclineError INVALID_ARGUMENT for an id outside of the vocabulary */
export function checkTokens(field: string, tokens: readonly number[], tokenizer: Tokenizer): void {
  const { vocabularySize } = tokenizer;
  const place = tokens.findIndex((token) => token >= vocabularySize);
  if (place < 0) return;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `${field}[${place}] is ${tokens[place]}, and the vocabulary has ${vocabularySize} tokens; give ids below that`,
  );
}
