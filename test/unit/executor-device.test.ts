import { expect, test } from "vitest";
import { vramBudget } from "../../gpu-executor/budget.js";
import { openDevice } from "../../gpu-executor/device.js";
import { type HostBackend, HostDevice } from "../../gpu-executor/host.js";
import { type Arena, NativeError } from "../../native/index.js";
import { FakeEngine, fakePlan, type Journal } from "../support/fake-executor.js";

const OPTIONS = { budgetBytes: 200, threads: 2, pinTo: [], instructionSet: null };
const NEEDS = { weightBytes: 100, kvCacheBytes: 20, scratchBytes: 3 };
const never = new AbortController().signal;
const NO_DRIVER = { controlDevice: false, library: false };

function hostDevice(backend: Partial<HostBackend>) {
  const journal: Journal = [];
  const device: HostDevice = new HostDevice(OPTIONS, {
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

test("cuda is refused with what of a driver is there", () => {
  const say = () => undefined;
  expect(() => openDevice("cuda", OPTIONS, say, NO_DRIVER)).toThrow(
    expect.objectContaining({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(/no NVIDIA driver was found/),
    }),
  );
  expect(() => openDevice("cuda", OPTIONS, say, { controlDevice: true, library: true })).toThrow(
    /no CUDA device .*driver was found/,
  );
});

test("auto without a GPU runs the host device and says so in one line", () => {
  const lines: string[] = [];
  expect(openDevice("auto", OPTIONS, (line) => lines.push(line), NO_DRIVER).name).toBe("host");
  expect(lines).toEqual(["there is no GPU on this machine: the host device runs instead"]);
  expect(openDevice("host", OPTIONS, (line) => lines.push(line), NO_DRIVER).budgetBytes).toBe(200);
  expect(lines).toHaveLength(1);
});

test("the default budget is a quarter of RAM, and 1 GiB at most", () => {
  expect(vramBudget("auto", 1024 ** 3)).toBe(256 * 1024 ** 2);
  expect(vramBudget("auto", 64 * 1024 ** 3)).toBe(1024 ** 3);
  expect(vramBudget("3MiB", 1024)).toBe(3 * 1024 ** 2);
  expect(() => vramBudget("0")).toThrow(/--vram-budget is 0/);
});
