import { expect, test } from "vitest";
import { ownRates } from "../../bench/llama-cpp-timings.js";

const LOG = `
llama_perf_context_print: prompt eval time =     121.20 ms /     3 tokens (   40.40 ms per token,    24.75 tokens per second)
llama_perf_context_print:        eval time =     584.82 ms /    11 runs   (   53.17 ms per token,    18.81 tokens per second)
`;

test("reads both rates, and does not take one for the other", () => {
  const { prefillTokensPerS, decodeTokensPerS } = ownRates(LOG);
  expect(prefillTokensPerS).toBeCloseTo(24.75, 1);
  expect(decodeTokensPerS).toBeCloseTo(18.81, 1);
});

test("knows nothing of what was not evaluated, or not logged", () => {
  const nothing =
    "prompt eval time =       0.00 ms /     1 tokens (    0.00 ms per token,      inf tokens per second)";
  expect(ownRates(nothing)).toEqual({ prefillTokensPerS: null, decodeTokensPerS: null });
});
