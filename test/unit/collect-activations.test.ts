/** Files of activations, and how an interrupted collection goes on. */
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { collect, type ObservedRunner } from "../../coordinator/predictors/collect.js";
import type { Candidate } from "../../coordinator/predictors/rank-search.js";
import { recordBytes } from "../../coordinator/predictors/row-sets.js";
import { type Collection, ROW_SETS, WorkFolder } from "../../coordinator/predictors/work-folder.js";

const SHAPE = { embd: 2, ff: 70 };
const LAYERS = [1, 3];
const WINDOWS = Array.from({ length: 12 }, (_, window) => [10 * window, 10 * window + 1, 10 * window + 2]);

let path: string;
beforeEach(() => {
  path = mkdtempSync(join(tmpdir(), "collect-"));
});
afterEach(() => rmSync(path, { recursive: true }));

/** Inputs are (token, layer); the neuron that fires has the token's number. */
function runnerOf(failAtToken: number | null): ObservedRunner {
  let tokens: number[] = [];
  return {
    limits: { maxRows: 2, maxLogitRows: 1, slots: 1, contextLength: 3 },
    run: async (rows, observed) => {
      expect(observed).toBe(true);
      tokens = rows.map(({ token }) => token);
      if (failAtToken !== null && tokens.includes(failAtToken)) throw new Error("interrupted");
      return { step: 1, logits: [], candidates: [], startNs: 0, endNs: 0, timings: new Float64Array() };
    },
    observed: (read) =>
      read({
        takeCounts: () => ({ counts: new Uint32Array(), strengths: new Float32Array() }),
        activations: (layer) => ({
          inputs: new Float32Array(tokens.flatMap((token) => [token, layer])),
          fired: new Uint8Array(tokens.flatMap((token) => [token, ...Array<number>(15).fill(0)])),
        }),
      }),
  };
}

async function collectWith(
  runner: ObservedRunner,
  folder: WorkFolder,
  signal = new AbortController().signal,
): Promise<Collection> {
  const collection = await folder.open("this model and text", WINDOWS.length);
  await collect(runner, {
    windows: WINDOWS,
    layers: LAYERS,
    shape: SHAPE,
    folder,
    collection,
    onProgress: () => undefined,
    signal,
  });
  return collection;
}

function tokensOf(folder: WorkFolder, layer: number): number[][] {
  return ROW_SETS.map((set) => {
    const bytes = readFileSync(folder.rowsPath(layer, set));
    const record = recordBytes(SHAPE);
    return Array.from({ length: bytes.length / record }, (_, row) => {
      const token = bytes.readFloatLE(row * record);
      expect(bytes.readFloatLE(row * record + 4)).toBe(layer);
      expect(bytes[row * record + 8]).toBe(token);
      return token;
    });
  });
}

test("each window's rows go to one set, in the text's order, the same after an interruption", async () => {
  const whole = new WorkFolder(join(path, "whole"));
  expect(await collectWith(runnerOf(null), whole)).toMatchObject({ windowsDone: 12 });
  const [training = [], calibration = [], kept = []] = tokensOf(whole, 1);
  expect(calibration).toEqual(WINDOWS[8]);
  expect(kept).toEqual(WINDOWS[9]);
  expect(training).toEqual([...WINDOWS.slice(0, 8), ...WINDOWS.slice(10)].flat());

  const broken = new WorkFolder(join(path, "broken"));
  // In the middle of window 10: what was written since the last note is read again.
  await expect(collectWith(runnerOf(102), broken)).rejects.toThrow("interrupted");
  await collectWith(runnerOf(null), broken);
  for (const layer of LAYERS) expect(tokensOf(broken, layer)).toEqual(tokensOf(whole, layer));
});

test("interrupted by whoever waits, it loses only the window at work", async () => {
  const folder = new WorkFolder(join(path, "work"));
  const control = new AbortController();
  const runner = runnerOf(null);
  const aborted = async (rows: Parameters<ObservedRunner["run"]>[0], observed?: boolean) => {
    if (rows[0]?.token === 40) control.abort(new Error("enough"));
    control.signal.throwIfAborted();
    return runner.run(rows, observed);
  };
  await expect(collectWith({ ...runner, run: aborted }, folder, control.signal)).rejects.toThrow("enough");
  expect(await folder.open("this model and text", WINDOWS.length)).toMatchObject({ windowsDone: 4 });
});

test("a later run is told how many windows there were, and how much they take", async () => {
  const folder = new WorkFolder(join(path, "work"));
  expect(await folder.held()).toEqual({ windows: null, bytes: 0 });
  await collectWith(runnerOf(null), folder);
  const rows = WINDOWS.flat().length * LAYERS.length;
  expect(await folder.held()).toEqual({ windows: WINDOWS.length, bytes: rows * recordBytes(SHAPE) });
});

test("rows that are missing, and a note that is no JSON, are told", async () => {
  const folder = new WorkFolder(join(path, "work"));
  await expect(collectWith(runnerOf(102), folder)).rejects.toThrow("interrupted");
  truncateSync(folder.rowsPath(3, "training"), 8);
  await expect(collectWith(runnerOf(null), folder)).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: `${folder.path}: activations are missing that were collected; remove the folder to collect them again`,
  });
  writeFileSync(join(folder.path, "collection.json"), "");
  await expect(collectWith(runnerOf(null), folder)).rejects.toMatchObject({
    code: "DATA_LOSS",
    message: expect.stringMatching(/collection\.json: is damaged; remove the folder .*work$/),
  });
});

test("the folder of another model or text is refused", async () => {
  const folder = new WorkFolder(join(path, "work"));
  await folder.open("mine", 5);
  await folder.writeCollection({ identity: "another", windows: 5, windowsDone: 3 });
  await expect(folder.open("mine", 5)).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
});

test("predictors that were measured are found again, but not by other options", async () => {
  const folder = new WorkFolder(join(path, "work"));
  await folder.open("mine", 5);
  const candidate: Candidate = { kind: "trained", rank: 32 };
  const pairs = { rows: 1, fired: 2, predicted: 3, found: 2 };
  const fitted = {
    fc1: new Uint8Array([1, 2]),
    fc2: new Uint8Array([3]),
    calibration: pairs,
    test: pairs,
    loss: 0.5,
  };
  expect(await folder.readFitted(4, candidate, "a")).toBeNull();
  await folder.writeFitted(4, candidate, "a", fitted);
  expect(await folder.readFitted(4, candidate, "a")).toEqual(fitted);
  expect(await folder.readFitted(4, candidate, "b")).toBeNull();
  expect(await folder.readFitted(5, candidate, "a")).toBeNull();
  writeFileSync(join(path, "work", "unrelated"), "");
  await folder.remove();
  expect(await folder.readFitted(4, candidate, "a")).toBeNull();
});
