/** What of the CPUs' time others had. */
import { execFileSync } from "node:child_process";
import { expect, test } from "vitest";
import { cpuTime, cpuTimeIn, othersShare, ownTimeIn } from "../../coordinator/cpu-time.js";

const STAT = `cpu  111 11 22 3300 44 5 6 7 8 9
cpu0 100 10 20 1000 30 4 3 2 50 60
cpu1 7 0 1 2000 4 0 0 1 0 0
cpu2 4 1 1 300 10 1 3 4 0 0
intr 0
`;

test("only CPUs that this process may run on count, and idle ones are not used", () => {
  expect(cpuTimeIn(STAT, new Set([0, 2]))).toEqual({ all: 1169 + 324, used: 139 + 14 });
  expect(cpuTimeIn(STAT, new Set([9]))).toEqual({ all: 0, used: 0 });
});

test("a process's own time is that of its threads and its ended children", () => {
  const fields = Array.from({ length: 50 }, (_, index) => String(1000 + index));
  const line = `7 (a) R 0 (x) S ${fields.join(" ")}`;
  // Fields 14 to 17 of the line, of which the three before "S" are one.
  expect(ownTimeIn(line)).toBe(1010 + 1011 + 1012 + 1013);
});

test("what others took is what was used beyond that", () => {
  const at = (all: number, used: number, own: number) => ({ all, used, own });
  expect(othersShare(at(1000, 100, 50), at(1400, 250, 150))).toBe(50 / 400);
  // Rounded to ticks, what is used can be less than the sum of its parts.
  expect(othersShare(at(1000, 100, 50), at(1400, 200, 151))).toBe(0);
  expect(othersShare(at(1000, 100, 50), at(1000, 100, 50))).toBe(0);
});

test("this computer says so, and a child's work is our own", () => {
  const before = cpuTime();
  execFileSync(process.execPath, [
    "-e",
    "const end = performance.now() + 300; while (performance.now() < end);",
  ]);
  const after = cpuTime();
  expect(after.all).toBeGreaterThan(before.all);
  expect(after.own - before.own).toBeGreaterThan(5);
});
