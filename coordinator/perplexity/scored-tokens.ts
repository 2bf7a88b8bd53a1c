/**
 * Which tokens of a window are scored: as llama.cpp's `llama-perplexity` does it by default, those of the second half, so
 * that each has at least half a context before it.
 */

/** The shortest window that has a scored token. */
export const LEAST_CONTEXT = 3;

/** Index of the first token of a window that is scored; all after it are as well. */
export function firstScored(contextLength: number): number {
  return Math.floor(contextLength / 2) + 1;
}
