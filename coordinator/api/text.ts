/** Text and tokens as they come in, within bounds that keep the event loop free. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Tokenizer } from "../model/tokenizer.js";

/**
 * Tokenizing takes the event loop about 2 µs a character, so there is a bound on what is tokenized at once: a context
 * full of long tokens, and never less than this.
 */
const LEAST_MOST_CHARACTERS = 65_536;
/** Vocabularies hold longer tokens (runs of blanks), but no text is made of those alone. */
const CHARACTERS_A_TOKEN = 16;

/**
 * Special tokens written out in the text are read as such: whoever has the whole prompt in hand writes them on
 * purpose, and `prompt_tokens` is there for those who do not.
 * @param field its name, for the error
 * @throws ThermoclineError INVALID_ARGUMENT
 */
export function tokenize(
  field: string,
  text: string,
  addSpecial: boolean,
  tokenizer: Tokenizer,
  contextLength: number,
): number[] {
  const most = Math.max(LEAST_MOST_CHARACTERS, CHARACTERS_A_TOKEN * contextLength);
  if (text.length > most) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `${field} has ${text.length} characters, and this server with its context of ${contextLength} tokens takes at ` +
        `most ${most} at once; shorten it or serve with a larger --ctx`,
    );
  }
  return tokenizer.encode(text, addSpecial, true);
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
