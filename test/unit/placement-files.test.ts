/** Machine files, placement files and the cache: what is refused, and how. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import { EXAMPLE_MACHINES } from "../../coordinator/placement/example-machines.js";
import { kernelBytesPerS, loadMachine } from "../../coordinator/placement/machine.js";
import { wholeModelBytes } from "../../coordinator/placement/place.js";
import { readPlacement, writePlacement } from "../../coordinator/placement/placement-file.js";
import { cacheFolder, cacheKey, PlanCache } from "../../coordinator/placement/plan-cache.js";
import { machineKey, planFor } from "../../coordinator/placement/planner.js";
import type { PlacementExecutor } from "../../coordinator/placement/schedule.js";
import type { SolveAnswer } from "../../coordinator/placement/solve.js";
import type { Schedule } from "../../native/index.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const SIZES = { slots: 1, contextLength: 32, maxRows: 4 };
const CPU: PlacementExecutor = { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: 1 };
const folder = temporaryFolder();
const [EXAMPLE] = EXAMPLE_MACHINES;

let model: Model;
let other: Model;
let gpu: PlacementExecutor;
beforeAll(async () => {
  model = await writeTinyModel(join(folder, "model.gguf"), { seed: 1 });
  other = await writeTinyModel(join(folder, "other.gguf"), { seed: 1, ff: 128 });
  const budgetBytes = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
  gpu = { kind: "gpu", device: "host", card: null, budgetBytes, threads: 1 };
});

let files = 0;
function fileOf(content: unknown): string {
  const path = join(folder, `file-${files++}.json`);
  writeFileSync(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

describe("a machine", () => {
  test.each(EXAMPLE_MACHINES.map(({ id }) => id))(
    "%s comes along, and is what its own file would be",
    async (id) => {
      const machine = await loadMachine(id);
      expect(await loadMachine(fileOf(machine))).toEqual(machine);
      expect(machine).toMatchObject({ source: "data sheet", note: expect.stringContaining("not measured") });
    },
  );

  test("of a type without kernels of its own runs at the share of any", async () => {
    const machine = await loadMachine("rtx-4090-ddr5");
    expect(kernelBytesPerS(machine.gpu, "q4_0", "head")).toBe(0.75 * 1008e9);
    expect(kernelBytesPerS(machine.gpu, "f16", "neurons")).toBe(0.6 * 1008e9);
    const only = { ...machine.gpu, kernels: [{ type: "f16" as const, stage: "head" as const, share: 1 }] };
    expect(() => kernelBytesPerS(only, "q4_0", "head")).toThrow(
      /no kernel share of GeForce RTX 4090 for q4_0/,
    );
  });

  test.each<[string, unknown, RegExp]>([
    ["no JSON", "{", /^the machine file .* is not valid JSON: /],
    ["no machine", {}, /^the machine file .* does not have the right fields: format: /],
    ["a field too many", { ...EXAMPLE?.machine, more: 1 }, /does not have the right fields: .*more/],
    ["contention of 2", { ...EXAMPLE?.machine, contention: 2 }, /right fields: contention: /],
    [
      "no bandwidth",
      { ...EXAMPLE?.machine, cpu: { ...EXAMPLE?.machine.cpu, bytesPerS: 0 } },
      /cpu\.bytesPerS: /,
    ],
  ])("that is %s is refused", async (_, content, message) => {
    await expect(loadMachine(fileOf(content))).rejects.toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", message: expect.stringMatching(message) }),
    );
  });

  test("that is neither a file nor known is refused, with those that are", async () => {
    await expect(loadMachine("rtx-9999")).rejects.toThrow(
      /^--machine is "rtx-9999", .*; give a machine file, or one of rtx-4090-ddr5, rtx-3090-ddr4, rtx-2080ti-ddr4$/,
    );
  });
});

describe("a placement file", () => {
  async function saved(): Promise<string> {
    const { layers, ff } = model.shape;
    const neuronOwner = Uint8Array.from({ length: ff }, (_, neuron) => (neuron % 3 === 0 ? 0 : 1));
    const schedule: Schedule = {
      executors: ["gpu", "cpu"],
      layers: Array.from({ length: layers }, (_, layer) => ({ attention: layer % 2, neuronOwner })),
      head: 1,
    };
    const path = join(folder, `placement-${files++}.json`);
    writePlacement(path, model, schedule);
    expect(await readPlacement(path, model, [gpu, CPU], SIZES)).toEqual(schedule);
    return path;
  }

  test("gives the schedule it was written from, on executors in any order and number", async () => {
    const path = await saved();
    const there = await readPlacement(path, model, [gpu, CPU], SIZES);
    const { executors, layers } = await readPlacement(path, model, [CPU, gpu, CPU], SIZES);
    expect(executors).toEqual(["cpu", "gpu", "cpu"]);
    for (const [index, { neuronOwner }] of layers.entries()) {
      const before = there.layers[index]?.neuronOwner.map((owner) => (owner === 0 ? 1 : 0));
      expect(neuronOwner.map((owner) => (owner === 1 ? 1 : 0))).toEqual(before);
    }
  });

  test("that does not fit is refused in one sentence", async () => {
    const path = await saved();
    const refusal = (code: string, message: RegExp) =>
      expect.objectContaining({ code, message: expect.stringMatching(message) });
    await expect(readPlacement(path, other, [gpu, CPU], SIZES)).rejects.toThrow(
      refusal("FAILED_PRECONDITION", /was made for another model .*; plan again with --save$/),
    );
    await expect(readPlacement(path, model, [CPU], SIZES)).rejects.toThrow(
      refusal("FAILED_PRECONDITION", /needs a GPU executor, and there is none/),
    );
    await expect(readPlacement(path, model, [gpu], SIZES)).rejects.toThrow(
      refusal("FAILED_PRECONDITION", /needs a CPU executor, and there is none/),
    );
    await expect(readPlacement(path, model, [{ ...gpu, budgetBytes: 1000 }, CPU], SIZES)).rejects.toThrow(
      refusal("RESOURCE_EXHAUSTED", /takes .* of the GPU executor's memory, whose budget is 1000 B; raise/),
    );
    await expect(readPlacement(fileOf({}), model, [gpu, CPU], SIZES)).rejects.toThrow(
      refusal("INVALID_ARGUMENT", /^the placement file .* does not have the right fields/),
    );
    await expect(readPlacement(join(folder, "none"), model, [gpu, CPU], SIZES)).rejects.toThrow(
      refusal("INVALID_ARGUMENT", /there is no such file; check the path$/),
    );
  });
});

describe("the cache", () => {
  let cache: string;
  let said: string[];
  const warn = (line: string) => said.push(line);
  const log = { info: (line: string) => said.push(line), warn };
  beforeEach(() => {
    cache = join(folder, `cache-${files++}`);
    said = [];
    answer = { kind: "solved", optimal: false, values: null };
  });

  const plan = (placed: Model = model) =>
    planFor([gpu, CPU], {
      model: placed,
      sizes: SIZES,
      profile: null,
      placementPath: null,
      cacheFolder: cache,
      log,
      run,
    });
  /** How often the solver was asked. */
  let runs = 0;
  /** What it says; null when it did not end in time. */
  let answer: SolveAnswer | null = null;
  const run = async () => {
    runs++;
    return answer;
  };

  test("gives the second start what the first one found, and another model its own", async () => {
    const first = await plan();
    const entries = readdirSync(cache).sort();
    expect(entries.map((name) => name.replace(/-.*/, ""))).toEqual(["estimated", "plan"]);
    const asked = runs;
    expect(await plan()).toEqual(first);
    expect(runs).toBe(asked);
    expect(readdirSync(cache).sort()).toEqual(entries);
    await plan(other);
    expect(readdirSync(cache)).toHaveLength(4);
    expect(said.every((line) => line.startsWith("placement ("))).toBe(true);
  });

  test.each<[string, SolveAnswer | null]>([
    ["did not end in time", null],
    ["failed", { kind: "failed", message: "no memory" }],
  ])("does not keep what a solver that %s left", async (_, unlucky) => {
    const { gpu: card, cpu, ...rest } = await loadMachine("rtx-4090-ddr5");
    // Without latencies every byte of a model as small as this is worth having, and it takes trying to use them all.
    const free = { handOverUs: 0, residualUs: 0, stepUs: 0 };
    const machine = { ...rest, ...free, gpu: { ...card, startUs: 0 }, cpu: { ...cpu, startUs: 0 } };
    const known = { machine, uniformShare: 1 };
    new PlanCache(cache, warn).write("measured", machineKey(model, [gpu, CPU]), known);
    const ofRuns = async (then: SolveAnswer | null) => {
      const before = runs;
      answer = then;
      await plan();
      return runs - before;
    };
    expect(await ofRuns(unlucky)).toBe(1);
    expect(await ofRuns(unlucky)).toBe(1);
    expect(await ofRuns({ kind: "solved", optimal: false, values: null })).toBe(1);
    expect(await ofRuns(unlucky)).toBe(0);
  });

  test("asks again where there is another card", () => {
    const on = (card: string | null) => machineKey(model, [{ ...gpu, device: "cuda", card }, CPU]);
    expect(on("a card")).toBe(on("a card"));
    expect(new Set([on("a card"), on("another card"), on(null)]).size).toBe(3);
  });

  test("passes over a damaged entry with a warning, and mends it", async () => {
    const first = await plan();
    const [name = ""] = readdirSync(cache).filter((entry) => entry.startsWith("plan-"));
    const whole = JSON.parse(readFileSync(join(cache, name), "utf8"));
    for (const damaged of ["", "{}", JSON.stringify({ ...whole, iterations: "many" })]) {
      writeFileSync(join(cache, name), damaged);
      said = [];
      expect(await plan()).toEqual(first);
      expect(said[0]).toMatch(/^the cache entry .* (is not valid JSON|right fields).*; it is found anew$/);
      expect(JSON.parse(readFileSync(join(cache, name), "utf8"))).toMatchObject({ choice: whole.choice });
    }
    // Whole, but of more groups than there are.
    const layers = whole.choice.layers.map((layer: object) => ({ ...layer, hot: 99 }));
    writeFileSync(join(cache, name), JSON.stringify({ ...whole, choice: { ...whole.choice, layers } }));
    expect(await plan()).toEqual(first);
  });

  test("that cannot be written is no failure", async () => {
    const file = fileOf("a file where the folder would be");
    const kept = new PlanCache(file, warn);
    kept.write("estimated", "0", { machine: await loadMachine("rtx-4090-ddr5"), uniformShare: 1 });
    expect(said).toMatchObject([expect.stringMatching(/^the placement is not kept for the next start: /)]);
  });

  test("lies where the standard says", () => {
    expect(cacheFolder({ XDG_CACHE_HOME: "/elsewhere" })).toBe("/elsewhere/thermocline");
    expect(cacheFolder({ XDG_CACHE_HOME: "relative" })).toMatch(/^\/.*\/\.cache\/thermocline$/);
    expect(cacheKey({ a: 1 })).toBe(cacheKey({ a: 1 }));
    expect(cacheKey({ a: 1 })).not.toBe(cacheKey({ a: 2 }));
  });
});
