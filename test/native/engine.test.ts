/** The engine's bridge: arguments, life cycle and errors. What it computes is tested in test/integration. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, expect, test } from "vitest";
import {
  Arena,
  Engine,
  type EngineOptions,
  type EnginePlan,
  memoryNeeds,
  TIMING_FIELDS,
} from "../../native/index.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";
import { ADDON_PATH } from "./raw-addon.js";
import { row } from "./small-arena.js";

const folder = temporaryFolder();
const OPTIONS: EngineOptions = {
  residency: "mapped",
  budgetBytes: 0,
  threads: 1,
  pinTo: [],
  instructionSet: null,
  library: null,
};
const STEP_TIMEOUT_MS = 30_000;
const ignore = () => undefined;

let plan: EnginePlan;
beforeAll(async () => {
  const model = await writeTinyModel(join(folder, "tiny.gguf"), {});
  const { layers, ff } = model.shape;
  plan = {
    modelPath: model.path,
    modelBytes: model.fileBytes,
    shape: model.shape,
    tensors: [...model.tensors],
    schedule: {
      executors: ["cpu"],
      layers: Array.from({ length: layers }, () => ({ attention: 0, neuronOwner: new Uint8Array(ff) })),
      head: 0,
    },
    executor: 0,
    slots: 2,
    contextLength: 16,
    maxRows: 4,
  };
});

const engines: Engine[] = [];
const arenas: Arena[] = [];
afterEach(async () => {
  for (const arena of arenas.splice(0)) if (!isClosed(() => arena.bytes)) arena.close();
  for (const engine of engines.splice(0)) if (!isClosed(() => engine.steps)) await engine.close();
});

function isClosed(use: () => unknown): boolean {
  try {
    use();
    return false;
  } catch (error) {
    expect(error).toMatchObject({ code: "closed" });
    return true;
  }
}

async function load(): Promise<Engine> {
  const engine = await Engine.load(plan, OPTIONS, ignore, null);
  engines.push(engine);
  return engine;
}

function createArena(): Arena {
  const { layers, embd, ff, vocab } = plan.shape;
  const arena = Arena.create({
    executors: 1,
    layers,
    embd,
    ff,
    vocab,
    maxRows: 4,
    maxLogitRows: 4,
    observation: "none",
  });
  arenas.push(arena);
  return arena;
}

function refusal(code: string, argument: string | null) {
  return expect.objectContaining({ name: "NativeError", code, argument });
}

test("an engine takes the memory it was said to need", async () => {
  const engine = await load();
  expect(engine.info.memory).toEqual(memoryNeeds(plan, OPTIONS));
  expect(engine.info.threads).toBe(1);
  expect(engine.steps).toBe(0);
});

test("instruction sets can be forced", async () => {
  const engine = await Engine.load(plan, { ...OPTIONS, instructionSet: "scalar" }, ignore, null);
  engines.push(engine);
  expect(engine.info.instructionSet).toBe("scalar");
});

test("progress ends at its total", async () => {
  const calls: [number, number][] = [];
  const options: EngineOptions = { ...OPTIONS, residency: "resident" };
  engines.push(await Engine.load(plan, options, (done, total) => calls.push([done, total]), null));
  const [done, total] = calls.at(-1) ?? [0, 0];
  expect(total).toBeGreaterThan(0);
  expect(done).toBe(total);
});

test("a plan's faults are named by their paths", () => {
  const [tensor] = plan.tensors;
  const [layer] = plan.schedule.layers;
  const faults: [string, unknown, unknown][] = [
    ["shape", { ...plan, shape: null }, OPTIONS],
    ["shape.layers", { ...plan, shape: { ...plan.shape, layers: -1 } }, OPTIONS],
    ["shape.ropeBase", { ...plan, shape: { ...plan.shape, ropeBase: "1e4" } }, OPTIONS],
    ["shape.reluThreshold", { ...plan, shape: { ...plan.shape, reluThreshold: -1 } }, OPTIONS],
    ["shape.activation", { ...plan, shape: { ...plan.shape, activation: "gelu" } }, OPTIONS],
    ["tensors", { ...plan, tensors: {} }, OPTIONS],
    ["tensors[1].type", { ...plan, tensors: [tensor, { ...tensor, type: "q5_0" }] }, OPTIONS],
    ["tensors[0].offset", { ...plan, tensors: [{ ...tensor, offset: 0.5 }] }, OPTIONS],
    ["schedule.executors[0]", { ...plan, schedule: { ...plan.schedule, executors: ["tpu"] } }, OPTIONS],
    [
      "schedule.layers[1].neuronOwner",
      { ...plan, schedule: { ...plan.schedule, layers: [layer, { ...layer, neuronOwner: [0, 0] }] } },
      OPTIONS,
    ],
    ["modelBytes", { ...plan, modelBytes: 2 ** 53 }, OPTIONS],
    ["options.residency", plan, { ...OPTIONS, residency: "cached" }],
    ["options.pinTo[0]", plan, { ...OPTIONS, pinTo: [-1] }],
    ["options.instructionSet", plan, { ...OPTIONS, instructionSet: "sse2" }],
    ["options.threads", plan, { ...OPTIONS, threads: 0 }],
  ];
  for (const [argument, badPlan, badOptions] of faults) {
    expect(() => memoryNeeds(badPlan as EnginePlan, badOptions as EngineOptions)).toThrow(
      refusal("invalid-argument", argument),
    );
  }
});

test("a model file that is not there rejects the load", async () => {
  const missing = { ...plan, modelPath: join(folder, "missing.gguf") };
  await expect(Engine.load(missing, OPTIONS, ignore, null)).rejects.toMatchObject({ code: "not-found" });
});

test("an aborted signal cancels the load", async () => {
  const options: EngineOptions = { ...OPTIONS, residency: "resident" };
  await expect(Engine.load(plan, options, ignore, AbortSignal.abort())).rejects.toMatchObject({
    code: "cancelled",
  });
});

test("a served step completes, with logits and timings", async () => {
  const engine = await load();
  const arena = createArena();
  const outcome = engine.serve(arena);
  const step = arena.submit([row({ wantsLogits: true })]);
  expect(await arena.wait(step, STEP_TIMEOUT_MS)).toBeNull();
  expect(await arena.wait(step, 0)).toBeNull();
  expect(arena.logits(0)).toHaveLength(plan.shape.vocab);
  expect(arena.logits(0).some((logit) => logit !== 0)).toBe(true);
  expect(arena.logits(0).buffer).toBe(arena.logits(0).buffer);
  expect(() => arena.logits(1)).toThrow(refusal("invalid-argument", "index"));
  const { records, lost } = arena.drainTimings();
  expect(records.length).toBeGreaterThan(0);
  expect(records.length % TIMING_FIELDS.length).toBe(0);
  expect(lost).toBe(0);
  expect(arena.drainTimings().records).toHaveLength(0);
  engine.stop();
  engine.stop();
  expect(await outcome).toEqual({ kind: "closed" });
  expect(engine.steps).toBe(1);
});

test("an engine serves one arena at a time, and another after it", async () => {
  const engine = await load();
  const [first, second] = [createArena(), createArena()];
  const outcome = engine.serve(first);
  await expect(engine.serve(second)).rejects.toEqual(refusal("invalid-argument", "engine"));
  engine.stop();
  await outcome;
  const next = engine.serve(second);
  expect(await second.wait(second.submit([row()]), STEP_TIMEOUT_MS)).toBeNull();
  engine.stop();
  expect(await next).toEqual({ kind: "closed" });
});

test("an abort ends serving with its reason", async () => {
  const engine = await load();
  const arena = createArena();
  const outcome = engine.serve(arena);
  arena.abort("enough");
  expect(await outcome).toEqual({
    kind: "failed",
    failure: { executor: -1, code: "aborted", message: "enough" },
  });
});

test("an arena closed under an engine stays mapped until serving ends", async () => {
  const engine = await load();
  const arena = createArena();
  const joined = Arena.attach(arena.name, arena.epoch);
  const outcome = engine.serve(joined);
  joined.close();
  expect(await arena.wait(arena.submit([row()]), STEP_TIMEOUT_MS)).toBeNull();
  engine.stop();
  expect(await outcome).toEqual({ kind: "closed" });
});

test("close stops serving; everything after it is a closed error", async () => {
  const engine = await load();
  const arena = createArena();
  const outcome = engine.serve(arena);
  const closing = engine.close();
  await expect(engine.close()).rejects.toEqual(refusal("closed", "engine"));
  expect(() => engine.stop()).toThrow(refusal("closed", "engine"));
  expect(() => engine.info).toThrow(refusal("closed", "engine"));
  expect(() => engine.steps).toThrow(refusal("closed", "engine"));
  await expect(engine.serve(arena)).rejects.toEqual(refusal("closed", "engine"));
  expect(await outcome).toEqual({ kind: "closed" });
  await closing;
});

test("a closed arena is refused", async () => {
  const engine = await load();
  const arena = createArena();
  arena.close();
  await expect(engine.serve(arena)).rejects.toEqual(refusal("closed", "arena"));
});

/** Runs a script with `addon`, a loaded `engine` and an `arena` for it to its end. @returns exit code and output */
async function runBeside(script: string): Promise<{ pid: number | undefined; code: unknown; text: string }> {
  const { layers, embd, ff, vocab } = plan.shape;
  const sizes = {
    executors: 1,
    layers,
    embd,
    ff,
    vocab,
    maxRows: 4,
    maxLogitRows: 4,
    observation: "none" as const,
  };
  const prelude = `
    const addon = require(${JSON.stringify(ADDON_PATH)});
    const plan = ${JSON.stringify(plan)};
    for (const layer of plan.schedule.layers) layer.neuronOwner = new Uint8Array(plan.shape.ff);
    const load = (onProgress) =>
      addon.engineLoad(plan, ${JSON.stringify(OPTIONS)}, onProgress, addon.cancelToken());
    const createArena = () => addon.arenaCreate(${JSON.stringify(sizes)});`;
  const child = spawn(process.execPath, ["-e", prelude + script], { stdio: ["ignore", "pipe", "inherit"] });
  let text = "";
  child.stdout.on("data", (chunk) => {
    text += chunk;
  });
  const [code] = await once(child, "close");
  return { pid: child.pid, code, text };
}

test("process.exit while an engine serves", async () => {
  const { code } = await runBeside(`
    load(() => {}).then((engine) => {
      addon.engineServe(engine, createArena());
      setTimeout(() => process.exit(5), 20);
    });`);
  expect(code).toBe(5);
});

test("an engine that serves keeps the process alive, one that has stopped does not", async () => {
  const { pid, code, text } = await runBeside(`
    load(() => {}).then((engine) => {
      addon.engineServe(engine, createArena()).then((outcome) => console.log(outcome.kind));
      setTimeout(() => addon.engineStop(engine), 50);
    });`);
  expect([code, text]).toEqual([0, "closed\n"]);
  expect(readdirSync("/dev/shm").filter((name) => name.startsWith(`thermocline-${pid}-`))).toEqual([]);
});

test("what a progress callback throws is an uncaught exception", async () => {
  const { code, text } = await runBeside(`
    process.on("uncaughtException", (error) => { console.log(error.message); process.exit(6); });
    load(() => { throw new Error("from the callback"); }).then((engine) => addon.engineClose(engine));`);
  expect([code, text]).toEqual([6, "from the callback\n"]);
});
