/** A tokenizer of one letter a token, and one character of two tokens. */
import type { Tokenizer, TokenStream } from "../../coordinator/model/tokenizer.js";
import { FAKE_VOCABULARY } from "./fake-step-runner.js";

export const FAKE_BOS = 0;
export const FAKE_END = 1;
/** The two halves of one character. */
export const FAKE_FIRST_HALF = 2;
export const FAKE_SECOND_HALF = 3;
const WHOLE = "é";
const FIRST_LETTER = 4;
const BROKEN = "\uFFFD";

class FakeStream implements TokenStream {
  private half = false;

  push(token: number): string {
    if (token === FAKE_SECOND_HALF && this.half) {
      this.half = false;
      return WHOLE;
    }
    const broken = this.end();
    if (token === FAKE_FIRST_HALF) this.half = true;
    if (token === FAKE_SECOND_HALF) return broken + BROKEN;
    return token < FIRST_LETTER ? broken : broken + String.fromCharCode(97 + token - FIRST_LETTER);
  }

  end(): string {
    const text = this.half ? BROKEN : "";
    this.half = false;
    return text;
  }
}

export const fakeTokenizer: Tokenizer = {
  vocabularySize: FAKE_VOCABULARY,
  bos: FAKE_BOS,
  isEnd: (token) => token === FAKE_END,
  encode(text, addSpecial) {
    const letters = [...text].map((letter) => {
      const place = letter.charCodeAt(0) - 97;
      return FIRST_LETTER + (((place % 28) + 28) % 28);
    });
    return addSpecial ? [FAKE_BOS, ...letters] : letters;
  },
  decode(tokens) {
    const stream = new FakeStream();
    return tokens.map((token) => stream.push(token)).join("") + stream.end();
  },
  stream: () => new FakeStream(),
};
