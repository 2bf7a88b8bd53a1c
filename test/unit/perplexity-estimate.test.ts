import { expect, test } from "vitest";
import { Estimate } from "../../coordinator/perplexity/estimate.js";
import { Random } from "../support/random.js";

function estimateOf(nlls: readonly number[]) {
  const estimate = new Estimate();
  for (const nll of nlls) estimate.add(nll);
  return estimate.result;
}

test("without tokens there is none", () => {
  expect(estimateOf([])).toBeNull();
});

test("one token has no variance", () => {
  expect(estimateOf([Math.log(8)])).toEqual({
    tokens: 1,
    meanNll: Math.log(8),
    perplexity: expect.closeTo(8, 12),
    standardError: null,
  });
});

test("three tokens, by hand", () => {
  // 1, 2 and 4 have the mean 7/3, and 42/9 is the sum of their squared distances from it: the variance is 7/3, that of
  // the mean 7/9.
  const perplexity = Math.exp(7 / 3);
  expect(estimateOf([1, 2, 4])).toEqual({
    tokens: 3,
    meanNll: expect.closeTo(7 / 3, 12),
    perplexity: expect.closeTo(perplexity, 12),
    standardError: expect.closeTo(perplexity * Math.sqrt(7 / 9), 12),
  });
});

test("many tokens, by llama.cpp's formula", () => {
  const random = new Random(3);
  const nlls = Array.from({ length: 10_000 }, () => 3 + random.normal());
  const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const variance = mean(nlls.map((nll) => nll * nll)) - mean(nlls) ** 2;
  const perplexity = Math.exp(mean(nlls));
  const result = estimateOf(nlls);
  expect(result?.perplexity).toBeCloseTo(perplexity, 9);
  expect(result?.standardError).toBeCloseTo(perplexity * Math.sqrt(variance / (nlls.length - 1)), 9);
});
