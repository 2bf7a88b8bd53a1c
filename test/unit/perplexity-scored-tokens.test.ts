import { expect, test } from "vitest";
import { firstScored, LEAST_CONTEXT } from "../../coordinator/perplexity/scored-tokens.js";

test("as many tokens of a window are scored as in llama.cpp: n - n/2 - 1", () => {
  const scored = (length: number) => length - firstScored(length);
  expect([512, 16, 5, 4, LEAST_CONTEXT].map(scored)).toEqual([255, 7, 2, 1, 1]);
  expect(scored(LEAST_CONTEXT - 1)).toBe(0);
});
