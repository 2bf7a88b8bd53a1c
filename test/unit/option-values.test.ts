/** Command-line numbers. */
import { expect, test } from "vitest";
import { z } from "zod";
import { decimal, parseOptions, whole, whole64 } from "../../coordinator/cli/option-values.js";

const parse = <S extends z.ZodType>(schema: S, value: unknown) =>
  parseOptions(z.object({ value: schema }), { value });

test.each([
  ["0", 0],
  ["007", 7],
  ["4294967295", 4294967295],
])("%j is a whole number", (text, value) => {
  expect(parse(whole("--n", 0, 2 ** 32 - 1), text)).toEqual({ value });
});

test.each(["", " 1", "1 ", "+1", "-1", "1.0", "1e3", "0x1", "4294967296", "9".repeat(400), "one", "NaN"])(
  "%j is none in range",
  (text) => {
    expect(() => parse(whole("--n", 0, 2 ** 32 - 1), text)).toThrow(
      `--n is "${text}"; give a whole number from 0 to 4294967295`,
    );
  },
);

test("64-bit numbers keep every digit", () => {
  expect(parse(whole64("--seed"), "18446744073709551615")).toEqual({ value: 2n ** 64n - 1n });
  for (const text of ["18446744073709551616", "-1", "", "1n", "0x1"])
    expect(() => parse(whole64("--seed"), text)).toThrow(
      /^--seed is ".*"; give a whole number from 0 to 2\^64 - 1$/,
    );
});

test.each([
  ["0", 0],
  [".5", 0.5],
  ["1.", 1],
  ["0.25", 0.25],
  ["1e-3", 0.001],
])("%j is a decimal number", (text, value) => {
  expect(parse(decimal("--t", 0, 1), text)).toEqual({ value });
});

test.each(["", ".", "-0.1", "1.01", "NaN", "Infinity", "0,5", "1e999", "0x1"])(
  "%j is none in range",
  (text) => {
    expect(() => parse(decimal("--t", 0, 1), text)).toThrow(`--t is "${text}"; give a number from 0 to 1`);
  },
);

test("a lower bound that does not count itself", () => {
  expect(() => parse(decimal("--top-p", 0, 1, false), "0")).toThrow(
    '--top-p is "0"; give a number above 0 and at most 1',
  );
});
