/** Cuts a text's tokens into windows that are read alone. */

/**
 * As llama.cpp's `llama-perplexity` does it by default: windows of as many tokens as the context holds, side by side, the
 * first token of each replaced by the beginning-of-sequence token where the model wants one.
 *
 * @param bos null leaves windows as they are
 * @param rest whether what fills no window is one as well, unless it is a single token; else it is left out
 */
export function cutWindows(
  tokens: readonly number[],
  contextLength: number,
  bos: number | null,
  rest: "dropped" | "kept" = "dropped",
): number[][] {
  const least = rest === "kept" ? LEAST_REST : contextLength;
  const windows: number[][] = [];
  for (let first = 0; first + least <= tokens.length; first += contextLength) {
    const window = tokens.slice(first, first + contextLength);
    if (bos !== null) window[0] = bos;
    windows.push(window);
  }
  return windows;
}

/** The first token may be replaced, and then one is left of the text. */
export const LEAST_REST = 2;
