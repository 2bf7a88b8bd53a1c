/** The perplexity of models on engines and executors, against the oracle's and llama.cpp's. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, test } from "vitest";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { type PredictorUse, withPredictor } from "../../coordinator/model/predictor.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { type Measurement, measurePerplexity } from "../../coordinator/perplexity/measure.js";
import {
  type PerplexityOptions,
  type PerplexityStage,
  runPerplexity,
} from "../../coordinator/perplexity/run.js";
import type { StepRunner } from "../../coordinator/schedule/step.js";
import { cutWindows } from "../../coordinator/text/windows.js";
import type { Schedule } from "../../native/index.js";
import { forward } from "../oracle/forward.js";
import { readOracleModel } from "../oracle/model.js";
import { EngineRounding, LlamaCppRounding, type Rounding } from "../oracle/rounding.js";
import { studentT } from "../oracle/student-t.js";
import { EngineStack } from "../support/engine-stack.js";
import { DIST, ENTRIES } from "../support/executor-processes.js";
import { LlamaCppSequence, openLlamaCpp } from "../support/llama-cpp.js";
import { placement, placements } from "../support/placements.js";
import { Random } from "../support/random.js";
import { writeSynthetic } from "../support/synthetic-model.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { TINY, writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const TEXT =
  "Once upon a time there was a small boat that lived on a big lake. Every day it went out to look for fish. One day " +
  "the wind was very strong. The boat was scared, but a kind gull showed it the way home.";
const textPath = join(folder, "text.txt");
writeFileSync(textPath, `${TEXT}\n`);

const CONTEXT = 16;
/** Every stack is one thread's: two cores are shared by all tests. */
const OPTIONS: PerplexityOptions = {
  modelPath: bundledModelPath(),
  activation: null,
  reluThreshold: null,
  predictor: "auto",
  gpu: "off",
  vramBudgetBytes: null,
  cpuExecutors: 1,
  threads: 1,
  repack: true,
  placementPath: null,
  profilePath: null,
  executorAddresses: [],
  textPath,
  contextLength: CONTEXT,
  chunks: 2,
  logLevel: "warn",
};

function run(
  given: Partial<PerplexityOptions> = {},
  onStage: (stage: PerplexityStage) => void = () => undefined,
) {
  return runPerplexity(
    { ...OPTIONS, ...given },
    {
      onStage,
      signal: new AbortController().signal,
      entries: ENTRIES,
      encoderEntry: pathToFileURL(join(DIST, "coordinator/model/tokenizer/encode-worker.js")),
    },
  );
}

/** The first two windows of the text, less what nothing is predicted from. */
function sequencesOf(model: Model): { fed: number[][]; windows: number[][] } {
  const tokenizer = loadTokenizer(model.file);
  const tokens = tokenizer.encode(TEXT, true, false);
  const bos = tokens[0] ?? -1;
  const windows = [0, 1].map((window) => [
    bos,
    ...tokens.slice(window * CONTEXT + 1, (window + 1) * CONTEXT),
  ]);
  return { windows, fed: windows.map((window) => window.slice(0, -1)) };
}

/** From the definition: the logits of every token that was fed, window after window. */
function meanNllOf(windows: readonly (readonly number[])[], logits: readonly ArrayLike<number>[]): number {
  const nlls = windows.flatMap((window, w) =>
    scoredPositions(w).map(({ position, row }) => {
      const all = Array.from(logits[row] ?? []);
      const largest = all.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY);
      const sum = all.reduce((total, logit) => total + Math.exp(logit - largest), 0);
      return largest + Math.log(sum) - (all[window[position] ?? -1] ?? Number.NaN);
    }),
  );
  return nlls.reduce((sum, nll) => sum + nll, 0) / nlls.length;
}

/** Tokens 9 to 15 of a window, each with the row of the logits that predict it. */
function scoredPositions(window: number): { position: number; row: number }[] {
  return Array.from({ length: CONTEXT / 2 - 1 }, (_, index) => {
    const position = CONTEXT / 2 + 1 + index;
    return { position, row: window * (CONTEXT - 1) + position - 1 };
  });
}

/** Probability that a faultless comparison fails, and runs with random rounding, as in test/oracle/tolerance.ts. */
const FALSE_ALARM = 1e-6;
const RUNS = 16;

/**
 * How far apart two means of faultless machines may lie: the prediction limit of a normal variable around zero, which
 * the mean of many tokens' errors is, from runs of the oracle with random rounding.
 */
function toleranceBetween(meanOf: (seed: number) => number, otherMeanOf: (seed: number) => number): number {
  const differences = Array.from({ length: RUNS }, (_, run) => meanOf(1 + run) - otherMeanOf(1 + RUNS + run));
  const squares = differences.reduce((sum, difference) => sum + difference ** 2, 0);
  return studentT(FALSE_ALARM / 2, RUNS) * Math.sqrt(squares / RUNS);
}

function oracleMeans(model: Model) {
  const { windows, fed } = sequencesOf(model);
  const oracle = readOracleModel(model);
  const meanOf = (rounding?: Rounding) =>
    meanNllOf(
      windows,
      fed.flatMap((tokens) => forward(oracle, tokens, rounding)),
    );
  return {
    exact: meanOf(),
    ofEngine: (seed: number) => meanOf(new EngineRounding(new Random(seed))),
    ofLlamaCpp: (seed: number) => meanOf(new LlamaCppRounding(new Random(seed))),
  };
}

function oracleOf(model: Model): { meanNll: number; tolerance: number } {
  const { exact, ofEngine } = oracleMeans(model);
  return { meanNll: exact, tolerance: toleranceBetween(ofEngine, () => exact) };
}

/** On engines in this process. */
async function onEngines(model: Model, schedule: Schedule, maxRows: number): Promise<Measurement> {
  const limits = { maxRows, maxLogitRows: maxRows, slots: 1, contextLength: CONTEXT };
  const stack = await EngineStack.start(model, schedule, limits);
  const runner: StepRunner = {
    limits,
    cacheEpoch: 0,
    ready: () => Promise.resolve(),
    run: async (rows) => ({
      step: 0,
      logits: await stack.run(rows),
      candidates: [],
      startNs: 0,
      endNs: 0,
      timings: new Float64Array(),
    }),
  };
  try {
    const { windows } = sequencesOf(model);
    const signal = new AbortController().signal;
    return await measurePerplexity(runner, {
      windows,
      shape: model.shape,
      onProgress: () => undefined,
      signal,
    });
  } finally {
    await stack.close();
  }
}

describe("the bundled model", () => {
  test("has the oracle's perplexity, on executors of every kind", async () => {
    const model = await loadModel(bundledModelPath(), { activation: null });
    const { meanNll, tolerance } = oracleOf(model);
    expect(tolerance).toBeLessThan(0.001);
    const stages = new Set<string>();
    const off = await run({}, ({ kind }) => stages.add(kind));
    expect([...stages]).toEqual(["tokenizing", "loading", "measuring"]);
    expect(Math.abs((off.estimate?.meanNll ?? Number.NaN) - meanNll)).toBeLessThan(tolerance);
    expect(off).toMatchObject({ windows: 2, windowsDone: 2, tokensRead: 30, estimate: { tokens: 14 } });
    expect(off.firedShare).toBeGreaterThan(0.05);
    expect(off.firedShare).toBeLessThan(0.3);

    const host = await run({ gpu: "host", threads: 2 });
    expect(host.estimate).toEqual(off.estimate);
    expect(host.firedShare).toBe(off.firedShare);
    const two = await run({ cpuExecutors: 2, threads: 2, repack: false });
    expect(two.estimate).toEqual(off.estimate);
  });

  test("has the same in all placements and chunkings", async () => {
    const model = await loadModel(bundledModelPath(), { activation: null });
    const plain = await onEngines(model, placement(model.shape, "one CPU executor"), 64);
    for (const maxRows of [1, 4, 7]) {
      const { estimate } = await onEngines(model, placement(model.shape, "half hot"), maxRows);
      expect(estimate).toEqual(plain.estimate);
    }
    for (const { schedule } of placements(model.shape, 1)) {
      expect((await onEngines(model, schedule, 11)).estimate).toEqual(plain.estimate);
    }
  });
});

describe("predictors", () => {
  test("whichever way they are used, a random model has the oracle's perplexity", async () => {
    const path = join(folder, "random.pwri");
    const file = await writeTinyModel(path, { predictorRank: 32, type: "f32" });
    const means = new Map<PredictorUse, number>();
    for (const predictor of ["auto", "off", { threshold: 0.5 }] as const) {
      const model = withPredictor(file, predictor);
      const { meanNll, tolerance } = oracleOf(model);
      const { estimate } = await onEngines(model, placement(TINY, "two CPU executors"), 7);
      expect(Math.abs((estimate?.meanNll ?? Number.NaN) - meanNll)).toBeLessThan(tolerance);
      means.set(predictor, meanNll);
    }
    // They differ by far more than what rounding does.
    const sorted = [...means.values()].sort((a, b) => a - b);
    expect(sorted.slice(1).every((mean, index) => mean - (sorted[index] ?? mean) > 0.001)).toBe(true);
  });

  test("a synthetic model's find nearly all that fire; a threshold takes more or fewer", async () => {
    const modelPath = join(folder, "synthetic.pwri");
    await writeSynthetic(modelPath, { format: "pwri", predictor: { rank: 256, type: "q4_0" } });
    const on = await run({ modelPath, predictor: "on" });
    const off = await run({ modelPath, predictor: "off" });
    const all = await run({ modelPath, predictor: { threshold: -1e30 } });
    const same = await run({ modelPath, predictor: { threshold: 0 }, gpu: "host", threads: 2 });
    const none = await run({ modelPath, predictor: { threshold: 1e30 } });

    expect(same.estimate).toEqual(on.estimate);
    expect(all.estimate).toEqual(off.estimate);
    expect(all.firedShare).toBe(off.firedShare);
    expect([all.predictedShare, off.predictedShare, none.predictedShare, none.firedShare]).toEqual([
      1, 0, 0, 0,
    ]);
    expect(on.predictedShare).toBeGreaterThan(on.firedShare);
    expect(on.firedShare / off.firedShare).toBeGreaterThan(0.95);
    expect(off.firedShare).toBeGreaterThan(0.05);
    expect(none.estimate?.meanNll).not.toBe(off.estimate?.meanNll);
  });

  test("are an error to insist on where there are none", async () => {
    await expect(run({ predictor: "on" })).rejects.toThrow(/^--predictor is on, and .* has no predictor/);
  });
});

test("a SiLU model has llama.cpp's perplexity", async () => {
  const options = { activation: "silu", downTransposed: false, contextLength: 256, type: "q8_0" } as const;
  const model = await writeTinyModel(join(folder, "silu.gguf"), options);
  const { windows, fed } = sequencesOf(model);
  const llama = await openLlamaCpp();
  try {
    const sequence = await LlamaCppSequence.load(llama, model);
    const logits: Float32Array[] = [];
    try {
      for (const tokens of fed) {
        await sequence.clear();
        logits.push(...(await sequence.evaluate(tokens)));
      }
    } finally {
      await sequence.close();
    }
    const { estimate } = await onEngines(model, placement(TINY, "one CPU executor"), 64);
    const { ofEngine, ofLlamaCpp } = oracleMeans(model);
    const difference = (estimate?.meanNll ?? Number.NaN) - meanNllOf(windows, logits);
    expect(Math.abs(difference)).toBeLessThan(toleranceBetween(ofEngine, ofLlamaCpp));
  } finally {
    await llama.dispose();
  }
});

test("windows are cut as these tests take them to be", async () => {
  const model = await loadModel(bundledModelPath(), { activation: null });
  const tokenizer = loadTokenizer(model.file);
  const tokens = tokenizer.encode(TEXT, true, false);
  expect(cutWindows(tokens, CONTEXT, tokenizer.bos).slice(0, 2)).toEqual(sequencesOf(model).windows);
});
