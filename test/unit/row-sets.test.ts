/** Which windows train, and how many may be read. */
import { describe, expect, test } from "vitest";
import { recordBytes, rowSetOf, windowsToRead } from "../../coordinator/predictors/row-sets.js";

describe("rowSetOf", () => {
  test.each([3, 4, 9, 10, 11, 57])("gives each set some of %i windows, and training the most", (windows) => {
    const counts = { training: 0, calibration: 0, test: 0 };
    for (let window = 0; window < windows; window++) counts[rowSetOf(window, windows)]++;
    expect(Math.min(...Object.values(counts))).toBeGreaterThan(0);
    expect(counts.training).toBeGreaterThanOrEqual(counts.test);
    expect(counts.training).toBeGreaterThanOrEqual(counts.calibration);
  });
});

test("of two texts that take turns, each set gets windows of both", () => {
  const parities = new Set<string>();
  for (let window = 0; window < 20; window++) parities.add(`${rowSetOf(window, 20)} ${window % 2}`);
  expect(parities.size).toBe(6);
});

describe("windowsToRead", () => {
  const room = { contextLength: 512, bytesPerToken: 1000, diskBytes: 2 ** 34, freeBytes: 2 ** 40 };

  test("takes what was asked for, in whole windows", () => {
    expect(windowsToRead({ ...room, tokens: 1025 })).toBe(3);
    expect(windowsToRead({ ...room, tokens: 51_200 })).toBe(100);
  });

  test("takes 131072 tokens by default, or what the disk holds", () => {
    expect(windowsToRead({ ...room, tokens: null })).toBe(256);
    expect(windowsToRead({ ...room, tokens: null, diskBytes: 5_120_000 })).toBe(10);
  });

  test("says how much it would take where there is no room", () => {
    expect(() => windowsToRead({ ...room, tokens: 51_200, diskBytes: 1_000_000 })).toThrow(
      /^the activations of 51200 tokens take [\d.]+ MiB, .* each, and --disk allows .*; give fewer --tokens or --layers$/,
    );
    expect(() => windowsToRead({ ...room, tokens: 51_200, freeBytes: 1_000_000 })).toThrow(
      /are free there, beside the model to be written; give fewer/,
    );
  });
});

test("a record holds the inputs and whole words of fired bits", () => {
  expect(recordBytes({ embd: 192, ff: 768 })).toBe(192 * 4 + 96);
  expect(recordBytes({ embd: 3, ff: 65 })).toBe(12 + 16);
});
