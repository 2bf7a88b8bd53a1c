import { expect, test } from "vitest";
import { cutWindows, firstScored, LEAST_CONTEXT } from "../../coordinator/perplexity/windows.js";

const BOS = 1;
const tokens = [BOS, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19];

test("windows lie side by side, each behind a beginning of its own; what fills none is left out", () => {
  expect(cutWindows(tokens, 5, BOS)).toEqual([
    [BOS, 10, 11, 12, 13],
    [BOS, 15, 16, 17, 18],
  ]);
  expect(cutWindows(tokens, 11, BOS)).toEqual([tokens]);
  expect(cutWindows(tokens, 12, BOS)).toEqual([]);
});

test("a model without such a token sees the text's own", () => {
  expect(cutWindows(tokens.slice(1), 5, null)).toEqual([
    [10, 11, 12, 13, 14],
    [15, 16, 17, 18, 19],
  ]);
});

test("as many tokens of a window are scored as in llama.cpp: n - n/2 - 1", () => {
  const scored = (length: number) => length - firstScored(length);
  expect([512, 16, 5, 4, LEAST_CONTEXT].map(scored)).toEqual([255, 7, 2, 1, 1]);
  expect(scored(LEAST_CONTEXT - 1)).toBe(0);
});
