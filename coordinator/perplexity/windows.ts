/**
 * Which tokens of a text are scored, and what the model sees of the text before each.
 *
 * As llama.cpp's `llama-perplexity` does it by default: the text's tokens are cut into windows of as many tokens as the
 * context holds, side by side, and what fills no window is left out. Each window is read alone, its first token replaced
 * by the beginning-of-sequence token where the model wants one. Only the second half is scored, so that every scored
 * token has at least half a context before it.
 */

/** The shortest window that has a scored token. */
export const LEAST_CONTEXT = 3;

/** @param bos null leaves windows as they are */
export function cutWindows(tokens: readonly number[], contextLength: number, bos: number | null): number[][] {
  return Array.from({ length: Math.floor(tokens.length / contextLength) }, (_, index) => {
    const window = tokens.slice(index * contextLength, (index + 1) * contextLength);
    if (bos !== null) window[0] = bos;
    return window;
  });
}

/** Index of the first token of a window that is scored; all after it are as well. */
export function firstScored(contextLength: number): number {
  return Math.floor(contextLength / 2) + 1;
}
