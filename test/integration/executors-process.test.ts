/** One executor process: its readiness, its Loads, and every way it can end. */
import type { ChildProcess } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { ExecutorClient } from "../../coordinator/executors/client.js";
import { loadRequest } from "../../coordinator/executors/load-request.js";
import type { Model } from "../../coordinator/model/model.js";
import { Arena, type EnginePlan } from "../../native/index.js";
import { parseAddress } from "../../proto/address.js";
import { ExecutorState, type LoadRequest } from "../../proto/gen/thermocline/v1/executor_pb.js";
import { ARGS, ENTRIES, inTurn, LIMITS, Scratch } from "../support/executor-processes.js";
import { writeTinyModel } from "../support/tiny-model.js";

const DEADLINE_MS = 30_000;
const never = new AbortController().signal;

let scratch: Scratch;
let folder: string;
beforeEach(() => {
  scratch = new Scratch();
  folder = join(scratch.path, "sockets");
  mkdirSync(folder);
});
afterEach(() => scratch.remove());

async function start(args: string[] = []): Promise<{ child: ChildProcess; client: ExecutorClient }> {
  const listen = ["--listen", `unix:${join(folder, "cpu.sock")}`];
  const { child, line } = await scratch.start(ENTRIES.cpu, [...listen, ...ARGS.cpu, ...args]);
  const { ready } = JSON.parse(line) as { ready: string };
  return { child, client: new ExecutorClient(parseAddress(ready, "ready"), "the executor") };
}

function exitOf(child: ChildProcess): Promise<number | NodeJS.Signals | null> {
  return new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));
}

/** Runs `work` with a model, and with arenas for `executors` that are closed at the end. */
async function withModel(
  work: (model: Model, newArena: (executors?: number) => Arena) => Promise<void>,
): Promise<void> {
  const model = await writeTinyModel(join(scratch.path, "tiny.gguf"), { seed: 3 });
  const { layers, embd, ff, vocab } = model.shape;
  const { maxRows, maxLogitRows } = LIMITS;
  const arenas: Arena[] = [];
  try {
    await work(model, (executors = 1) => {
      const arena = Arena.create({
        executors,
        layers,
        embd,
        ff,
        vocab,
        maxRows,
        maxLogitRows,
        observation: "none",
      });
      arenas.push(arena);
      return arena;
    });
  } finally {
    for (const arena of arenas) arena.close();
  }
}

/** A Load of a lone CPU executor, but for what is given. */
function request(model: Model, arena: Arena, given: Partial<EnginePlan> = {}): LoadRequest {
  const plan = {
    modelPath: model.path,
    modelBytes: model.fileBytes,
    shape: model.shape,
    tensors: model.tensors,
    schedule: inTurn(model, ["cpu"]),
    executor: 0,
    slots: LIMITS.slots,
    contextLength: LIMITS.contextLength,
    maxRows: LIMITS.maxRows,
    ...given,
  };
  return loadRequest(plan, arena);
}

/** Has the executor wait in a step for a second one that is nobody. @returns the step's number */
async function beginEndlessStep(model: Model, arena: Arena, client: ExecutorClient): Promise<number> {
  const schedule = inTurn(model, ["cpu", "cpu"]);
  await client.load(request(model, arena, { schedule }), () => undefined, DEADLINE_MS, never);
  return arena.submit([{ token: 1, position: 0, slot: 0, wantsLogits: true }]);
}

test("a TCP address with port 0 gets a port of its own, which the readiness line tells", async () => {
  const { line } = await scratch.start(ENTRIES.cpu, ["--listen", "127.0.0.1:0", ...ARGS.cpu]);
  const { ready } = JSON.parse(line) as { ready: string };
  expect(ready).toMatch(/^127\.0\.0\.1:[1-9]\d*$/);
  const client = new ExecutorClient(parseAddress(ready, "ready"), "the executor");
  expect(await client.status(null)).toMatchObject({ state: ExecutorState.IDLE, device: "cpu", threads: 1 });
  client.close();
});

describe("Load", () => {
  test("again with the same plan keeps the weights; with another plan it loads anew", async () => {
    const { client } = await start();
    await withModel(async (model, newArena) => {
      const progress: number[] = [];
      const load = (arena: Arena, slots: number) =>
        client.load(request(model, arena, { slots }), (done) => progress.push(done), DEADLINE_MS, never);
      const step = async (arena: Arena) => {
        const number = arena.submit([{ token: 1, position: 0, slot: 0, wantsLogits: true }]);
        expect(await arena.wait(number, DEADLINE_MS)).toBeNull();
        return arena.logits(0).slice();
      };
      const first = newArena();
      const loaded = await load(first, LIMITS.slots);
      const logits = await step(first);
      expect(progress.length).toBeGreaterThan(0);

      progress.length = 0;
      const second = newArena();
      expect(await load(second, LIMITS.slots)).toEqual(loaded);
      expect(progress).toEqual([]);
      expect(await step(second)).toEqual(logits);
      expect(await client.status(null)).toMatchObject({ state: ExecutorState.SERVING, steps: 2n });

      const third = newArena();
      expect((await load(third, LIMITS.slots + 1)).kvCacheBytes).toBeGreaterThan(loaded.kvCacheBytes);
      expect(progress.length).toBeGreaterThan(0);
      expect(await step(third)).toEqual(logits);
      expect(await client.status(null)).toMatchObject({ steps: 1n });
    });
    client.close();
  });

  test("an arena of that name that is another one is refused", async () => {
    const { client } = await start();
    await withModel(async (model, newArena) => {
      const arena = newArena();
      const wrong = { ...request(model, arena), arenaEpoch: arena.epoch ^ 1n };
      await expect(client.load(wrong, () => undefined, DEADLINE_MS, never)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
      const gone = { ...request(model, arena), arenaName: "thermocline-1-0000000000000000" };
      await expect(client.load(gone, () => undefined, DEADLINE_MS, never)).rejects.toMatchObject({
        code: "NOT_FOUND",
        message: /thermocline-1-0000000000000000/,
      });
      expect(await client.status(null)).toMatchObject({ state: ExecutorState.FAILED });
      await client.load(request(model, arena), () => undefined, DEADLINE_MS, never);
    });
    client.close();
  });
});

describe("the end", () => {
  test.each(["SIGTERM", "SIGINT"] as const)(
    "%s while it serves: exit code 0 and no socket",
    async (signal) => {
      const { child, client } = await start();
      await withModel(async (model, newArena) => {
        await client.load(request(model, newArena()), () => undefined, DEADLINE_MS, never);
        const exit = exitOf(child);
        child.kill(signal);
        expect(await exit).toBe(0);
      });
      expect(readdirSync(folder)).toEqual([]);
      client.close();
    },
  );

  test("a lost parent: the folder goes as well", async () => {
    const { child, client } = await start(["--with-parent"]);
    await client.status(null);
    const exit = exitOf(child);
    child.stdin?.end();
    expect(await exit).toBe(0);
    expect(scratch.contents).not.toContain("sockets");
    client.close();
  });

  test("a second signal does not wait for the step at hand", async () => {
    const { child, client } = await start();
    await withModel(async (model, newArena) => {
      await beginEndlessStep(model, newArena(2), client);
      const exit = exitOf(child);
      child.kill("SIGTERM");
      child.kill("SIGINT");
      expect(await exit).toBe(1);
      expect(readdirSync(folder)).toEqual([]);
    });
    client.close();
  });

  test("a lost parent in the middle of a step", async () => {
    const { child, client } = await start(["--with-parent"]);
    await withModel(async (model, newArena) => {
      const arena = newArena(2);
      const failure = arena.wait(await beginEndlessStep(model, arena, client), DEADLINE_MS);
      const exit = exitOf(child);
      child.stdin?.end();
      expect(await failure).toMatchObject({ code: "aborted", message: "the coordinator was lost" });
      expect(await exit).toBe(0);
    });
    client.close();
  });
});
