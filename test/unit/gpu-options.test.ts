import { expect, test } from "vitest";

/** Scripts that run before anything is built, and have no types. */
const options: {
  benchOptions(args: string[]): Record<string, unknown>;
  testOptions(args: string[]): Record<string, unknown>;
  budgetsWorthARun(budgets: number[], modelBytes: number, usable: number): number[];
} = await import(new URL("../../deploy/gpu-options.mjs", import.meta.url).href);

test("lists restrict what is measured", () => {
  expect(
    options.benchOptions([
      "--models",
      "13b,7b",
      "--budgets",
      "8",
      "--sparsities",
      "0,0.95",
      "--kernels-only",
    ]),
  ).toMatchObject({
    models: ["13b", "7b"],
    budgets: [8],
    sparsities: [0, 0.95],
    kernelsOnly: true,
    allowSkip: false,
    peer: true,
  });
  expect(options.benchOptions(["--no-peer"]).peer).toBe(false);
  expect(options.benchOptions([])).toMatchObject({ budgets: [8, 11, 16, 24], promptTokens: [128], runs: 3 });
  expect(options.testOptions(["--allow-skip"])).toEqual({ allowSkip: true, kernelsOnly: false });
});

test.each([
  [["--models", "8b"], '--models is "8b"; give, with commas between, 7b, 13b, 33b, 70b'],
  [["--sparsities", "0.5,"], '--sparsities is "0.5,"; give, with commas between, numbers from 0 to 0.999'],
  [["--budgets", "0"], '--budgets is "0"'],
  [["--runs", "1.5"], '--runs is "1.5"'],
  [["--runs", "3,5"], '--runs is "3,5"; give one number'],
  [["--frobnicate"], "'--frobnicate'"],
])("%j is refused", (args, message) => {
  expect(() => options.benchOptions(args)).toThrow(message);
});

test("of budgets that hold the whole model only the smallest is worth a run", () => {
  expect(options.budgetsWorthARun([24, 8, 16, 11], 10, 20)).toEqual([8, 11]);
  expect(options.budgetsWorthARun([8, 11, 16, 24], 40, 20)).toEqual([8, 11, 16]);
  expect(options.budgetsWorthARun([8], 40, 7)).toEqual([]);
});
