import { existsSync, statSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { Arena, type ArenaOptions, MOST_CANDIDATES, TIMING_FIELDS } from "../../native/index.js";
import { row, SMALL } from "./small-arena.js";

const open: Arena[] = [];
afterEach(() => {
  for (const arena of open.splice(0)) {
    try {
      arena.close();
    } catch (error) {
      expect(error).toMatchObject({ code: "closed" });
    }
  }
});

function create(options: Partial<ArenaOptions> = {}): Arena {
  const arena = Arena.create({ ...SMALL, ...options });
  open.push(arena);
  return arena;
}

function attach(name: string, epoch: bigint): Arena {
  const arena = Arena.attach(name, epoch);
  open.push(arena);
  return arena;
}

const pathOf = (arena: Arena) => join("/dev/shm", arena.name);

function refusal(code: string, argument: string | null) {
  return expect.objectContaining({ name: "NativeError", code, argument });
}

test("an arena is a private file that goes when its creator closes it", () => {
  const arena = create();
  const path = pathOf(arena);
  expect(statSync(path)).toMatchObject({ size: arena.bytes });
  expect(statSync(path).mode & 0o777).toBe(0o600);
  arena.close();
  expect(existsSync(path)).toBe(false);
});

test("closing an attached arena leaves the creator's file", () => {
  const arena = create();
  attach(arena.name, arena.epoch).close();
  expect(existsSync(pathOf(arena))).toBe(true);
});

test("attach finds the arena of its name and epoch alone", () => {
  const arena = create();
  const attached = attach(arena.name, arena.epoch);
  expect([attached.name, attached.epoch, attached.bytes]).toEqual([arena.name, arena.epoch, arena.bytes]);
  expect(() => attach(arena.name, arena.epoch + 1n)).toThrow(refusal("corrupt", "epoch"));
  expect(() => attach("thermocline-1-0", arena.epoch)).toThrow(refusal("not-found", "name"));
  expect(() => attach("../passwd", arena.epoch)).toThrow(refusal("invalid-argument", "name"));
  expect(() => attach(arena.name, -1n)).toThrow(refusal("invalid-argument", "epoch"));
  truncateSync(pathOf(arena), 100);
  expect(() => attach(arena.name, arena.epoch)).toThrow(refusal("corrupt", null));
});

test("unlink is idempotent and ends attaching", () => {
  const arena = create();
  arena.unlink();
  arena.unlink();
  expect(existsSync(pathOf(arena))).toBe(false);
  expect(() => attach(arena.name, arena.epoch)).toThrow(refusal("not-found", "name"));
});

test("options out of range name themselves", () => {
  for (const option of Object.keys(SMALL)) {
    for (const value of [0, -1, 1.5, Number.NaN, 2 ** 32]) {
      expect(() => Arena.create({ ...SMALL, [option]: value })).toThrow(
        refusal("invalid-argument", `options.${option}`),
      );
    }
  }
  expect(() => Arena.create({ ...SMALL, maxLogitRows: 5 })).toThrow(
    refusal("invalid-argument", "options.maxLogitRows"),
  );
});

test("an arena larger than /dev/shm is out-of-memory, with sizes", () => {
  const options = { ...SMALL, maxRows: 65536, maxLogitRows: 65536, vocab: 2 ** 24 };
  expect(() => Arena.create(options)).toThrow(refusal("out-of-memory", null));
  expect(() => Arena.create(options)).toThrow(/needs \d+ MiB .* has \d+ MiB left of \d+ MiB/);
});

test("a bad step names its fault", () => {
  const arena = create();
  const submit =
    (...rows: ReturnType<typeof row>[]) =>
    () =>
      arena.submit(rows);
  const logits = row({ wantsLogits: true });
  expect(submit()).toThrow(refusal("invalid-argument", "rows"));
  expect(submit(row(), row(), row(), row(), row())).toThrow(refusal("invalid-argument", "rows"));
  expect(submit(logits, logits, logits)).toThrow(refusal("invalid-argument", "rows"));
  expect(submit(row(), row({ token: 50 }))).toThrow(refusal("invalid-argument", "rows[1].token"));
  expect(submit(row({ token: -1 }))).toThrow(refusal("invalid-argument", "rows[0].token"));
  expect(submit(row({ position: -1 }))).toThrow(refusal("invalid-argument", "rows[0].position"));
  expect(submit(row({ slot: -1 }))).toThrow(refusal("invalid-argument", "rows[0].slot"));
  expect(arena.submit([row()])).toBe(1);
  expect(submit(row())).toThrow(/step 1 has not completed/);
});

test("a step that outlasts its time is timed-out and leaves the arena aborted", async () => {
  const arena = create();
  const other = attach(arena.name, arena.epoch);
  const step = arena.submit([row()]);
  const failure = {
    executor: -1,
    code: "timed-out",
    message: "step 1 did not complete within 30 ms",
  };
  expect(await arena.wait(step, 30)).toEqual(failure);
  expect(() => arena.submit([row()])).toThrow(refusal("aborted", null));
  expect(await other.wait(step, 60_000)).toEqual(failure);
});

test("abort ends waits in every arena object with the first reason", async () => {
  const arena = create();
  const other = attach(arena.name, arena.epoch);
  const step = arena.submit([row()]);
  const waits = [arena.wait(step, 60_000), other.wait(step, 60_000), other.wait(step, 60_000)];
  other.abort("enough");
  arena.abort("too late to tell");
  const failure = { executor: -1, code: "aborted", message: "enough" };
  expect(await Promise.all(waits)).toEqual([failure, failure, failure]);
});

test("only steps that were submitted can be waited for", async () => {
  const arena = create();
  await expect(arena.wait(1, 1000)).rejects.toEqual(refusal("invalid-argument", "step"));
  const step = arena.submit([row()]);
  await expect(arena.wait(step + 1, 1000)).rejects.toEqual(refusal("invalid-argument", "step"));
  await expect(arena.wait(0, 1000)).rejects.toEqual(refusal("invalid-argument", "step"));
  for (const timeoutMs of [-1, Number.NaN, Number.POSITIVE_INFINITY]) {
    await expect(arena.wait(step, timeoutMs)).rejects.toEqual(refusal("invalid-argument", "timeoutMs"));
  }
});

test("closing during a wait rejects it as closed", async () => {
  const arena = create();
  const step = arena.submit([row()]);
  const waits = [arena.wait(step, 60_000), arena.wait(step, 60_000)];
  const settled = Promise.allSettled(waits);
  arena.close();
  for (const wait of await settled) {
    expect(wait).toMatchObject({ status: "rejected", reason: { code: "closed", argument: "arena" } });
  }
});

test("logits are there only for rows that asked, once their step has completed", () => {
  const arena = create();
  expect(() => arena.logits(0)).toThrow(refusal("invalid-argument", "index"));
  arena.submit([row({ wantsLogits: true })]);
  expect(() => arena.logits(0)).toThrow(/has completed/);
  expect(() => arena.candidates(0)).toThrow(/has completed/);
});

test("a row asks for all its logits, or for as many of the highest as an arena keeps", () => {
  const asks = (candidates: number) => () => create().submit([row({ wantsLogits: true, candidates })]);
  expect(asks(-1)).toThrow(refusal("invalid-argument", "rows[0].candidates"));
  expect(asks(MOST_CANDIDATES + 1)).toThrow(
    /rows\[0\].candidates is 129: a row can ask for 0 \(all\) to 128/,
  );
  expect(asks(MOST_CANDIDATES)()).toBe(1);
});

test("only what an arena was made to observe can be asked of it, between steps", () => {
  expect(() => create({ observation: "all" as "none" })).toThrow(
    refusal("invalid-argument", "options.observation"),
  );
  const unobserved = create();
  expect(() => unobserved.submit([row()], true)).toThrow(refusal("invalid-argument", "observed"));
  expect(() => unobserved.takeCounts()).toThrow(refusal("invalid-argument", "options.observation"));
  const counts = create({ observation: "counts" });
  expect(counts.takeCounts()).toEqual({
    counts: new Uint32Array(3 * 100),
    strengths: new Float32Array(3 * 100),
  });
  expect(() => counts.activations(0)).toThrow(refusal("invalid-argument", "options.observation"));
  counts.submit([row()], true);
  expect(() => counts.takeCounts()).toThrow(/has completed/);
  const activations = create({ observation: "activations" });
  expect(activations.activations(2)).toEqual({ inputs: new Float32Array(), fired: new Uint8Array() });
  expect(() => activations.activations(3)).toThrow(refusal("invalid-argument", "layer"));
});

test("no timing records before any work", () => {
  const { records, lost } = create().drainTimings();
  expect(records.length % TIMING_FIELDS.length).toBe(0);
  expect([records.length, lost]).toEqual([0, 0]);
});

test("everything after close, close itself included, is a closed error", async () => {
  const arena = create();
  const step = arena.submit([row()]);
  arena.close();
  const uses: (() => unknown)[] = [
    () => arena.name,
    () => arena.epoch,
    () => arena.bytes,
    () => arena.unlink(),
    () => arena.submit([row()]),
    () => arena.logits(0),
    () => arena.abort("late"),
    () => arena.drainTimings(),
    () => arena.takeCounts(),
    () => arena.activations(0),
    () => arena.close(),
  ];
  for (const use of uses) expect(use).toThrow(refusal("closed", "arena"));
  await expect(arena.wait(step, 1000)).rejects.toEqual(refusal("closed", "arena"));
});
