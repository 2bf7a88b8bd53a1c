import { expect, test } from "vitest";
import { cutWindows } from "../../coordinator/text/windows.js";

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

test("the rest is a window where that is asked for, if anything of the text is left in it", () => {
  expect(cutWindows(tokens, 4, BOS, "kept")).toEqual([
    [BOS, 10, 11, 12],
    [BOS, 14, 15, 16],
    [BOS, 18, 19],
  ]);
  expect(cutWindows(tokens, 5, BOS, "kept")).toEqual(cutWindows(tokens, 5, BOS));
  expect(cutWindows(tokens, 100, BOS, "kept")).toEqual([tokens]);
  expect(cutWindows([BOS], 100, BOS, "kept")).toEqual([]);
});
