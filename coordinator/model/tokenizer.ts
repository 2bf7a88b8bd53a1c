/** What every tokenizer offers, whatever its algorithm. */
export interface Tokenizer {
  readonly vocabularySize: number;
  /** Beginning-of-sequence token, or null when the model has none. */
  readonly bos: number | null;
  /** Whether a token ends generation (end of sequence, end of turn). */
  isEnd(token: number): boolean;
  /**
   * @param addSpecial puts the beginning-of-sequence token in front where the model wants one
   * @param parseSpecial reads special tokens written out in the text (`</s>`) as those tokens
   */
  encode(text: string, addSpecial: boolean, parseSpecial: boolean): number[];
  /** Text of whole sequences; incomplete UTF-8 becomes U+FFFD, control tokens become nothing. */
  decode(tokens: readonly number[]): string;
  /**
   * A decoder for what follows `prompt`, token by token; an empty prompt starts a sequence. The prompt decides
   * whether the first token's leading space is text, and may end inside a character.
   */
  stream(prompt: readonly number[]): TokenStream;
}

/**
 * Gives text as soon as it is whole: bytes of an unfinished character are held back. The texts of all calls joined
 * equal `decode` of prompt and tokens, less the characters the prompt alone completes.
 */
export interface TokenStream {
  push(token: number): string;
  /** What is still held back, as U+FFFD. */
  end(): string;
}
