import { expect, test } from "vitest";

interface Run {
  kind: string;
  model: string;
  sparsity: number;
  budgetGiB: number;
  peer: string | null;
}
/** A script that has no types. */
const plan: {
  runsOf(wanted: Record<string, unknown>): Run[];
  needsDense(run: Run): boolean;
  benchArgs(
    run: Run,
    paths: { own: string; dense: string },
    layers: number | null,
    options: Record<string, unknown>,
  ): string[];
  knownLayers(lines: unknown[], run: Run, figureName: string): number | null;
} = await import(new URL("../../deploy/gpu-plan.mjs", import.meta.url).href);

const GIB = 1024 ** 3;
const WANTED = { model: "7b", sparsities: [0, 0.9], budgets: [8 * GIB, 16 * GIB], usable: 20 * GIB };
const RUN: Run = { kind: "decode", model: "7b", sparsity: 0.9, budgetGiB: 8, peer: "llama.cpp" };
const PATHS = { own: "own.gguf", dense: "dense.gguf" };
const OPTIONS = { runs: 3, tokens: 64, promptTokens: [128, 512] };

test("llama.cpp is measured where the card holds a budget for each, and every sparsity's runs are together", () => {
  const runs = plan.runsOf({ ...WANTED, peer: true });
  expect(runs.map(({ kind, sparsity, budgetGiB, peer }) => [sparsity, budgetGiB, kind, peer])).toEqual([
    [0, 8, "decode", "llama.cpp"],
    [0, 8, "prefill", "llama.cpp"],
    [0, 16, "decode", null],
    [0, 16, "prefill", null],
    [0.9, 8, "decode", "llama.cpp"],
    [0.9, 8, "prefill", "llama.cpp"],
    [0.9, 16, "decode", null],
    [0.9, 16, "prefill", null],
  ]);
  expect(plan.runsOf({ ...WANTED, peer: false }).every(({ peer }) => peer === null)).toBe(true);
});

test("two budgets that leave nothing for a second driver's context do not fit", () => {
  const budgets = [10 * GIB];
  const [run] = plan.runsOf({ ...WANTED, budgets, usable: 20.4 * GIB, peer: true });
  expect(run?.peer).toBeNull();
  expect(plan.runsOf({ ...WANTED, budgets, usable: 20.5 * GIB, peer: true })[0]?.peer).toBe("llama.cpp");
});

test("the dense model is needed where it is measured or compared with", () => {
  expect(plan.needsDense(RUN)).toBe(true);
  expect(plan.needsDense({ ...RUN, peer: null })).toBe(false);
  expect(plan.needsDense({ ...RUN, sparsity: 0, peer: null })).toBe(true);
});

test("a run's arguments are those of the benchmark", () => {
  const ours = ["decode", "--gpu", "cuda", "--vram-budget", "8GiB", "--model", "own.gguf"];
  const rest = ["--runs", "3", "--tokens", "64", "--prompt-tokens", "128,512", "--json"];
  const peer = ["--peer", "llama.cpp"];
  const dense = ["--peer-model", "dense.gguf"];
  expect(plan.benchArgs(RUN, PATHS, null, OPTIONS)).toEqual([...ours, ...peer, ...dense, ...rest]);
  expect(plan.benchArgs(RUN, PATHS, 20, OPTIONS)).toEqual([
    ...ours,
    ...peer,
    ...dense,
    ...["--peer-gpu-layers", "20"],
    ...rest,
  ]);
  // The dense model is its own peer.
  expect(plan.benchArgs({ ...RUN, sparsity: 0 }, PATHS, null, OPTIONS)).toEqual([...ours, ...peer, ...rest]);
  expect(plan.benchArgs({ ...RUN, peer: null }, PATHS, 20, OPTIONS)).toEqual([...ours, ...rest]);
});

test("the best number of layers is looked for once, whatever the sparsity", () => {
  const figures = [
    { name: "decoding", value: 30 },
    { name: "layers", value: 20 },
  ];
  const line = { ...RUN, sparsity: 0, card: "a card", result: { sections: [{ figures }] } };
  const lines = [{ kind: "kernels", result: { rows: [] } }, line];
  expect(plan.knownLayers(lines, RUN, "layers")).toBe(20);
  for (const other of [{ kind: "prefill" }, { model: "13b" }, { budgetGiB: 11 }, { peer: null }]) {
    expect(plan.knownLayers(lines, { ...RUN, ...other }, "layers")).toBeNull();
  }
  expect(plan.knownLayers([], RUN, "layers")).toBeNull();
});
