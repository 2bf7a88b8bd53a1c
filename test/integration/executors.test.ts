/** Groups of real executor processes: loading, steps, loss, recovery, and the end. */
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Server } from "@grpc/grpc-js";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ExecutorGroup } from "../../coordinator/executors/group.js";
import type { GroupState } from "../../coordinator/executors/group-state.js";
import type { Model } from "../../coordinator/model/model.js";
import { listen } from "../../cpu-executor/listener.js";
import { MOST_CANDIDATES } from "../../native/index.js";
import { unixAddress } from "../../proto/address.js";
import { ExecutorService, StatusResponseSchema } from "../../proto/gen/thermocline/v1/executor_pb.js";
import { serviceDefinition } from "../../proto/grpc.js";
import {
  ARGS,
  arenasOf,
  argmax,
  DIST,
  ENTRIES,
  freeze,
  generate,
  given,
  groupOf,
  inTurn,
  isAlive,
  LIMITS,
  PROMPT,
  Scratch,
  spawned,
  until,
} from "../support/executor-processes.js";
import { highest } from "../support/fake-step-runner.js";
import { writeTinyModel } from "../support/tiny-model.js";

/** How soon a step must fail once an executor of it is dead. */
const LOSS_LIMIT_MS = 1000;

let models: Scratch;
let model: Model;
let scratch: Scratch;
let group: ExecutorGroup | null;

beforeAll(async () => {
  models = new Scratch();
  model = await writeTinyModel(join(models.path, "tiny.gguf"), { seed: 11 });
});
afterAll(() => models.remove());

beforeEach(() => {
  scratch = new Scratch();
  group = null;
});
afterEach(async () => {
  const pids = pidsOf(group);
  await group?.close();
  expect(pids.filter((pid) => spawnedHere.has(pid) && isAlive(pid))).toEqual([]);
  expect(arenasOf(process.pid)).toEqual([]);
  expect(scratch.contents.filter((name) => name.startsWith("thermocline-"))).toEqual([]);
  await scratch.remove();
});

/** Processes that a group started, as opposed to those a test started. */
const spawnedHere = new Set<number>();

async function open(...args: Parameters<typeof groupOf>): Promise<ExecutorGroup> {
  group = groupOf(...args);
  await group.open();
  if (args[1].some(({ kind }) => kind === "spawn")) for (const pid of pidsOf(group)) spawnedHere.add(pid);
  return group;
}

function pidsOf(of: ExecutorGroup | null): number[] {
  return of?.placement?.executors.map(({ pid }) => pid) ?? [];
}

function pidOf(of: ExecutorGroup, executor: number): number {
  const pid = pidsOf(of)[executor];
  if (pid === undefined) throw new Error(`there is no executor ${executor}`);
  return pid;
}

/** Fails unless `work` rejects in time. @returns what it rejected with */
async function rejection(work: Promise<unknown>): Promise<unknown> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no failure within ${LOSS_LIMIT_MS} ms`)), LOSS_LIMIT_MS);
  });
  const outcome = work.then(
    () => {
      throw new Error("it did not fail");
    },
    (error: unknown) => error,
  );
  return Promise.race([outcome, late]).finally(() => clearTimeout(timer));
}

const SOURCES = [spawned("gpu"), spawned("cpu")];

describe("steps", () => {
  test("one CPU executor", async () => {
    const states: GroupState["kind"][] = [];
    const one = await open(model, [spawned("cpu")], { onState: ({ kind }) => states.push(kind) });
    expect(states.at(-1)).toBe("ready");
    expect(new Set(states.slice(0, -1))).toEqual(new Set(["loading"]));
    const result = await one.run(PROMPT);
    expect(result.logits.map(({ length }) => length)).toEqual([model.shape.vocab]);
    expect(result.timings.length).toBeGreaterThan(0);
    expect(result.endNs).toBeGreaterThan(result.startNs);
    expect(one.placement?.executors).toMatchObject([
      { kind: "cpu", device: "cpu", threads: 1, name: "executor-0" },
    ]);
    expect(one.placement?.executors[0]?.memory.weightBytes).toBeGreaterThan(0);
  });

  test("rows get all their logits, or the highest of them", async () => {
    const one = await open(model, [spawned("cpu")]);
    const wanting = PROMPT.map((row) => ({ ...row, wantsLogits: true }));
    const all = (await one.run(wanting)).logits.map((row) => row.slice());
    const { logits, candidates } = await one.run(
      wanting.map((row, index) => ({ ...row, candidates: [5, 0, MOST_CANDIDATES][index] ?? 0 })),
    );
    expect(logits).toEqual([all[1]]);
    expect(candidates).toEqual([
      highest(all[0] ?? new Float32Array(), 5),
      highest(all[2] ?? new Float32Array(), MOST_CANDIDATES),
    ]);
  });

  test("a GPU and a CPU executor choose the same tokens as one CPU executor", async () => {
    const alone = groupOf(model, [spawned("cpu")]);
    await alone.open();
    const expected = await generate(alone);
    await alone.close();
    const both = await open(model, SOURCES);
    expect((await generate(both)).map(argmax)).toEqual(expected.map(argmax));
    expect(both.placement?.executors).toMatchObject([
      { kind: "gpu", device: "host", budgetBytes: 64 * 1024 ** 2 },
      { kind: "cpu", device: "cpu", budgetBytes: 0 },
    ]);
  });

  test("executors told to use scalar kernels say so, and choose the same tokens", async () => {
    const best = groupOf(model, SOURCES);
    await best.open();
    const expected = await generate(best);
    await best.close();
    const scalar = (["gpu", "cpu"] as const).map((kind) =>
      spawned(kind, [...ARGS[kind], "--instruction-set", "scalar"]),
    );
    const plain = await open(model, scalar);
    expect(plain.placement?.executors.map(({ instructionSet }) => instructionSet)).toEqual([
      "scalar",
      "scalar",
    ]);
    expect((await generate(plain)).map(argmax)).toEqual(expected.map(argmax));
  });

  test("a step that is wrong in itself is an error of its own, and harms nothing", async () => {
    const one = await open(model, [spawned("cpu")]);
    await expect(one.run([{ token: 0, position: 0, slot: 99, wantsLogits: true }])).rejects.toThrow();
    await one.ready();
    await one.run(PROMPT);
  });
});

describe("a lost executor", () => {
  test.each([
    [0, "GPU"],
    [1, "CPU"],
  ])("SIGKILL of executor %d (%s) in the middle of a step", async (victim, role) => {
    const both = await open(model, SOURCES);
    const expected = await generate(both);
    const pid = pidOf(both, victim);
    // Stopped, it cannot end the step before it is killed.
    await freeze(pid);
    const step = both.run(PROMPT);
    process.kill(pid, "SIGKILL");
    expect(await rejection(step)).toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringMatching(
        new RegExp(`^the ${role} executor \\(pid ${pid}\\) was killed by SIGKILL; .*try again`),
      ),
    });
    await both.ready();
    for (const one of pidsOf(both)) spawnedHere.add(one);
    expect(pidOf(both, victim)).not.toBe(pid);
    expect(await generate(both)).toEqual(expected);
  });

  test("SIGKILL between steps is noticed, and the survivor is not restarted", async () => {
    const both = await open(model, SOURCES);
    const [gpu, cpu] = [pidOf(both, 0), pidOf(both, 1)];
    process.kill(cpu, "SIGKILL");
    await until(() => both.state.kind !== "ready", "the loss");
    await both.ready();
    for (const one of pidsOf(both)) spawnedHere.add(one);
    expect(pidOf(both, 0)).toBe(gpu);
    expect(pidOf(both, 1)).not.toBe(cpu);
    await generate(both);
  });

  test("one that hangs is killed at the step's deadline, and restarted", async () => {
    const both = await open(model, SOURCES, { stepTimeoutMs: 300 });
    const expected = await generate(both);
    const [gpu, cpu] = [pidOf(both, 0), pidOf(both, 1)];
    await freeze(cpu);
    await expect(both.run(PROMPT)).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringMatching(/^step \d+ did not end within 0.3 s/),
    });
    await both.ready();
    for (const one of pidsOf(both)) spawnedHere.add(one);
    expect(isAlive(cpu)).toBe(false);
    expect(pidOf(both, 0)).toBe(gpu);
    expect(await generate(both)).toEqual(expected);
  });

  test("one that cannot be restarted is given up after some attempts", async () => {
    const entry = join(scratch.path, "once.mjs");
    const mark = join(scratch.path, "started");
    writeFileSync(
      entry,
      `import { existsSync, writeFileSync } from "node:fs";
       if (existsSync(${JSON.stringify(mark)})) { console.error("the second start fails"); process.exit(7); }
       writeFileSync(${JSON.stringify(mark)}, "");
       await import(${JSON.stringify(ENTRIES.cpu)});`,
    );
    const one = await open(model, [{ ...spawned("cpu"), entry } as never]);
    process.kill(pidOf(one, 0), "SIGKILL");
    await until(() => one.state.kind === "failed", "giving up");
    const expected = { message: expect.stringMatching(/5 times in a row.*code 7: the second start fails/) };
    await expect(one.ready()).rejects.toMatchObject(expected);
    await expect(one.run(PROMPT)).rejects.toMatchObject(expected);
  });
});

describe("executors that others start", () => {
  const socket = () => join(scratch.path, "cpu.sock");
  const start = () => scratch.start(ENTRIES.cpu, ["--listen", `unix:${socket()}`, ...ARGS.cpu]);

  test("are used, watched, and left drained", async () => {
    const { child } = await start();
    const one = await open(model, [given(`unix:${socket()}`)]);
    const expected = await generate(one);
    await one.close();
    expect(child.exitCode).toBeNull();
    const again = await open(model, [given(`unix:${socket()}`)]);
    expect(await generate(again)).toEqual(expected);
  });

  test("may vanish and come back", async () => {
    const { child } = await start();
    const one = await open(model, [given(`unix:${socket()}`)]);
    const expected = await generate(one);
    await freeze(pidOf(one, 0));
    const step = one.run(PROMPT);
    child.kill("SIGKILL");
    expect(await rejection(step)).toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringContaining(
        `the CPU executor at unix:${socket()} broke off the control connection`,
      ),
    });
    await start();
    await one.ready();
    expect(await generate(one)).toEqual(expected);
  });

  test("may come late", async () => {
    const opened = open(model, [given(`unix:${socket()}`)]);
    await start();
    await generate(await opened);
  });

  test("that do not come in time are an error that names the address", async () => {
    await expect(open(model, [given(`unix:${socket()}`)], { connectTimeoutMs: 100 })).rejects.toMatchObject({
      code: "UNAVAILABLE",
      message: `no executor answered at unix:${socket()} within 0.1 s; start one there`,
    });
  });

  test("of another version are refused", async () => {
    const server = new Server();
    server.addService(serviceDefinition(ExecutorService), {
      status: (_call: unknown, callback: (error: null, value: unknown) => void) =>
        callback(null, create(StatusResponseSchema, { version: "0.0.1-other" })),
    });
    await listen(server, unixAddress(socket()));
    await expect(open(model, [given(`unix:${socket()}`)])).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining('is version "0.0.1-other"'),
    });
    server.forceShutdown();
  });
});

describe("opening fails with a sentence and leaves nothing behind", () => {
  test("when the model file is missing", async () => {
    const missing = { ...model, path: join(scratch.path, "missing.gguf") };
    await expect(open(missing, SOURCES)).rejects.toMatchObject({
      code: "NOT_FOUND",
      message: expect.stringContaining("missing.gguf"),
    });
    expect(group?.state.kind).toBe("failed");
  });

  test("when the model file has another size than it had", async () => {
    const path = join(scratch.path, "changed.gguf");
    const changed = await writeTinyModel(path, { seed: 11 });
    truncateSync(path, changed.fileBytes - 1);
    await expect(open(changed, SOURCES)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("changed.gguf"),
    });
  });

  test("when the plan does not fit the GPU executor's budget", async () => {
    const small = ["--threads", "1", "--pin", "none", "--device", "host", "--vram-budget", "4KiB"];
    await expect(open(model, [spawned("gpu", small), spawned("cpu")])).rejects.toMatchObject({
      code: "RESOURCE_EXHAUSTED",
      message: expect.stringMatching(/the GPU executor \(pid \d+\): .*weights .* free of 4\.00 KiB/),
    });
  });

  test("when an executor cannot start", async () => {
    await expect(open(model, [spawned("cpu", ["--threads", "none"])])).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(/^the CPU executor exited with code 1: --threads is "none"/),
    });
    await expect(open(model, [spawned("gpu", ["--device", "cuda"])])).rejects.toMatchObject({
      message: expect.stringMatching(/--device cuda: this build has no CUDA device/),
    });
  });
});

describe("the end", () => {
  test("closing is idempotent, fails the step at hand, and is final", async () => {
    const one = await open(model, [spawned("cpu")]);
    await freeze(pidOf(one, 0));
    const step = one.run(PROMPT);
    const closed = Promise.all([one.close(), one.close()]);
    await expect(step).rejects.toMatchObject({ code: "UNAVAILABLE", message: "the server is shutting down" });
    await closed;
    await expect(one.ready()).rejects.toMatchObject({ message: "the server is shutting down" });
    await expect(one.run(PROMPT)).rejects.toMatchObject({ message: "the server is shutting down" });
  });

  test.each([
    ["at once", () => true],
    ["while processes start", () => scratch.contents.length > 0],
  ])("closing while it opens: %s", async (_, isTime) => {
    const one = groupOf(model, SOURCES);
    group = one;
    const outcome = one.open().catch((error: unknown) => error);
    await until(isTime, "the time to close");
    await one.close();
    expect(await outcome).toMatchObject({ code: "UNAVAILABLE", message: "the server is shutting down" });
    expect(one.state.kind).toBe("closed");
  });

  test("closing while it loads", async () => {
    const onState = ({ kind }: GroupState) => {
      if (kind === "loading") void group?.close();
    };
    await expect(open(model, SOURCES, { onState })).rejects.toMatchObject({
      message: "the server is shutting down",
    });
  });

  test("closing while it recovers", async () => {
    const both = await open(model, SOURCES);
    process.kill(pidOf(both, 0), "SIGKILL");
    await until(() => both.state.kind === "recovering", "the loss");
    const ready = both.ready().catch((error: unknown) => error);
    await both.close();
    expect(await ready).toMatchObject({ message: "the server is shutting down" });
  });

  test("SIGKILL of the coordinator takes executors, sockets, folder, and arena with it", async () => {
    const options = { model: { ...model, file: null }, sources: SOURCES, limits: LIMITS };
    const schedule = inTurn(model, ["gpu", "cpu"]);
    const { child, line } = await scratch.start(join(import.meta.dirname, "../support/group-process.mjs"), [
      DIST,
      JSON.stringify({ ...options, schedule }),
    ]);
    const { pids } = JSON.parse(line) as { pids: number[] };
    expect(pids.map(isAlive)).toEqual([true, true]);
    expect(scratch.contents).toHaveLength(1);
    child.kill("SIGKILL");
    await until(() => !pids.some(isAlive), "the executors' end");
    await until(() => scratch.contents.length === 0, "the folder's end");
    expect(arenasOf(child.pid ?? 0)).toEqual([]);
  });
});
