import { expect, test } from "vitest";
import { vramBudget } from "../../gpu-executor/budget.js";
import { openDevice } from "../../gpu-executor/device.js";
import { type DeviceBackend, LedgerDevice } from "../../gpu-executor/ledger-device.js";
import type { FoundCard } from "../../native/find-card.js";
import { type Arena, NativeError } from "../../native/index.js";
import { CARD as A_CARD } from "../support/card.js";
import { FakeEngine, fakePlan, type Journal } from "../support/fake-executor.js";

const OPTIONS = { budgetBytes: 200, threads: 2, pinTo: [], instructionSet: null };
const NEEDS = { weightBytes: 100, kvCacheBytes: 20, scratchBytes: 3 };
const never = new AbortController().signal;
const NO_DRIVER = { controlDevice: false, library: false };

function hostDevice(backend: Partial<DeviceBackend>) {
  const journal: Journal = [];
  const device: LedgerDevice = new LedgerDevice("host", OPTIONS, null, {
    memoryNeeds: () => NEEDS,
    load: async (_plan, options) => {
      journal.push(`${options.residency}, ${device.ledger.freeBytes} bytes free`);
      return new FakeEngine("engine", journal);
    },
    ...backend,
  });
  return { device, journal };
}

test("the host device reserves before it loads, and releases when its engine is closed", async () => {
  const { device, journal } = hostDevice({});
  const engine = await device.load(fakePlan(), () => undefined, never);
  expect(journal).toEqual(["resident, 77 bytes free"]);
  expect(device.ledger.reservations[0]?.usedBytes).toBe(123);
  void engine.serve({ name: "arena" } as Arena);
  expect(journal.at(-1)).toBe("serve engine in arena");
  await engine.close();
  expect(device.ledger.freeBytes).toBe(200);
});

test("a plan beyond the budget is refused before anything is loaded", async () => {
  const { device, journal } = hostDevice({ memoryNeeds: () => ({ ...NEEDS, weightBytes: 178 }) });
  await expect(device.load(fakePlan(), () => undefined, never)).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    message: /201 B .*200 B free of 200 B/,
  });
  expect(journal).toEqual([]);
});

test("a failed load gives its reservation back", async () => {
  const { device } = hostDevice({
    load: () => Promise.reject(new NativeError("not-found", "no such file", null)),
  });
  await expect(device.load(fakePlan(), () => undefined, never)).rejects.toThrow("no such file");
  expect(device.ledger.freeBytes).toBe(200);
});

test("an engine that took other than it said is closed, and the books stay right", async () => {
  const { device, journal } = hostDevice({ memoryNeeds: () => ({ ...NEEDS, scratchBytes: 2 }) });
  await expect(device.load(fakePlan(), () => undefined, never)).rejects.toMatchObject({ code: "INTERNAL" });
  expect(journal.at(-1)).toBe("free engine");
  expect(device.ledger.freeBytes).toBe(200);
});

const CARD = { ...A_CARD, memoryBytes: 8e9, freeBytes: 7e9 };
const DRIVER = { controlDevice: true, library: true };
const found = async (): Promise<FoundCard> => ({ kind: "card", card: CARD, library: "/lib.so" });
const missing = async (): Promise<FoundCard> => ({ kind: "none", problem: "no card does" });

test("a card that was asked for and cannot be had is refused with what is missing", async () => {
  const say = () => undefined;
  await expect(openDevice("cuda", OPTIONS, say, { driver: NO_DRIVER, find: missing })).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message:
      "--device cuda: no card does (no NVIDIA driver was found: neither /dev/nvidiactl nor libcuda.so.1); " +
      "use --device host",
  });
  await expect(openDevice("emulated", OPTIONS, say, { driver: NO_DRIVER, find: missing })).rejects.toThrow(
    "--device emulated: no card does; use --device host",
  );
});

test("auto runs what there is and says so in one line", async () => {
  const lines: string[] = [];
  const open = async (driver: typeof DRIVER, find: typeof found) =>
    (await openDevice("auto", OPTIONS, (line) => lines.push(line), { driver, find })).name;
  expect(await open(NO_DRIVER, found)).toBe("host");
  expect(await open(DRIVER, missing)).toBe("host");
  expect(await open(DRIVER, found)).toBe("cuda");
  expect(lines).toEqual([
    "there is no GPU on this machine: the host device runs instead",
    "no card does: the host device runs instead",
    "a card computes",
  ]);
  expect((await openDevice("host", OPTIONS, (line) => lines.push(line))).budgetBytes).toBe(200);
  expect(lines).toHaveLength(3);
});

test("a real card is told by its name", async () => {
  const cardOf = async (choice: "cuda" | "emulated" | "host") =>
    (await openDevice(choice, OPTIONS, () => undefined, { driver: DRIVER, find: found })).card;
  expect(await cardOf("cuda")).toBe(A_CARD.name);
  expect(await cardOf("emulated")).toBeNull();
  expect(await cardOf("host")).toBeNull();
});

test("the default budget is a quarter of RAM, and 1 GiB at most", () => {
  expect(vramBudget("auto", 1024 ** 3)).toBe(256 * 1024 ** 2);
  expect(vramBudget("auto", 64 * 1024 ** 3)).toBe(1024 ** 3);
  expect(vramBudget("3MiB", 1024)).toBe(3 * 1024 ** 2);
  expect(() => vramBudget("0")).toThrow(/--vram-budget is 0/);
});
