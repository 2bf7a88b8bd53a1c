/** Text out of tokens, for a whole sequence and for one that grows. */
import type { TokenStream } from "../tokenizer.js";

/** How one tokenizer writes its tokens out. */
export interface TokenBytes {
  /** UTF-8 bytes of a token, possibly part of a character; null for a token that is no text. */
  bytesOf(token: number): Uint8Array | null;
  /** Whether encoding puts a space in front of a text, which decoding takes away again. */
  readonly addsLeadingSpace: boolean;
}

const SPACE = 0x20;

/** Decodes one sequence from its beginning. */
export class TokenDecoder implements TokenStream {
  // By the Encoding Standard a decoder that is fed in parts gives what it gives for the whole, U+FFFD included.
  private readonly utf8 = new TextDecoder("utf-8", { ignoreBOM: true });
  private atStart = true;

  constructor(private readonly tokens: TokenBytes) {}

  push(token: number): string {
    let bytes = this.tokens.bytesOf(token);
    if (bytes === null) return "";
    if (this.atStart && this.tokens.addsLeadingSpace && bytes[0] === SPACE) bytes = bytes.subarray(1);
    this.atStart = false;
    return this.utf8.decode(bytes, { stream: true });
  }

  end(): string {
    return this.utf8.decode();
  }
}

/** A decoder for what follows `prompt`. */
export function streamAfter(prompt: readonly number[], tokens: TokenBytes): TokenStream {
  const decoder = new TokenDecoder(tokens);
  for (const token of prompt) decoder.push(token);
  return decoder;
}

/** Text of a whole sequence. */
export function decodeTokens(sequence: readonly number[], tokens: TokenBytes): string {
  const decoder = new TokenDecoder(tokens);
  return sequence.map((token) => decoder.push(token)).join("") + decoder.end();
}
