import { cpus, totalmem } from "node:os";
import { expect, test } from "vitest";
import { machine, measureBandwidth, monotonicNs } from "../../native/index.js";

test("machine agrees with what Node sees", () => {
  const found = machine();
  expect(found.instructionSets[0]).toBe("scalar");
  expect(found.cores).toBeGreaterThanOrEqual(1);
  expect(found.cores).toBeLessThanOrEqual(cpus().length);
  expect(found.memoryBytes).toBeGreaterThan(0);
  expect(found.memoryBytes).toBeLessThanOrEqual(totalmem());
  expect(found.availableMemoryBytes).toBeGreaterThan(0);
  expect(found.availableMemoryBytes).toBeLessThanOrEqual(found.memoryBytes);
  expect(found.availableSharedMemoryBytes).toBeLessThanOrEqual(found.sharedMemoryBytes);
});

test("monotonicNs is process.hrtime's clock", () => {
  const before = Number(process.hrtime.bigint());
  const now = monotonicNs();
  expect(now).toBeGreaterThanOrEqual(before);
  expect(now).toBeLessThanOrEqual(Number(process.hrtime.bigint()));
});

test("measureBandwidth reads at least one pass", async () => {
  for (const threads of [1, 2]) {
    const bytesPerSecond = await measureBandwidth(threads, 1 << 20, 0);
    expect(bytesPerSecond).toBeGreaterThan(0);
    expect(Number.isFinite(bytesPerSecond)).toBe(true);
  }
});

test("measureBandwidth refuses what it can't measure", async () => {
  const refusal = (argument: string) => expect.objectContaining({ code: "invalid-argument", argument });
  await expect(measureBandwidth(0, 1 << 20, 0)).rejects.toEqual(refusal("threads"));
  await expect(measureBandwidth(2, 4096, 0)).rejects.toEqual(refusal("bytes"));
  await expect(measureBandwidth(1, 1 << 20, -1)).rejects.toEqual(refusal("seconds"));
  await expect(measureBandwidth(1, 2 ** 52, 0)).rejects.toEqual(
    expect.objectContaining({ code: "out-of-memory", argument: "bytes" }),
  );
});
