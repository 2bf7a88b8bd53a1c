import { expect, test } from "vitest";
import { pinning } from "../../cpu-executor/pinning.js";
import { allowedCpus } from "../../native/cpus.js";

const allowed = () => [0, 2, 3, 6];

test("auto pins one thread to each CPU where there are enough, and none otherwise", () => {
  expect(pinning("auto", 3, allowed)).toEqual([0, 2, 3]);
  expect(pinning("auto", 4, allowed)).toEqual([0, 2, 3, 6]);
  expect(pinning("auto", 5, allowed)).toEqual([]);
  expect(pinning("none", 1, allowed)).toEqual([]);
});

test("a list is taken as it is", () => {
  expect(pinning("6,2-3", 3, allowed)).toEqual([6, 2, 3]);
});

test.each([
  ["0,2", 3, /names 2 CPUs for 3 threads/],
  ["0-1", 2, /CPU 1, on which/],
  ["3-2", 2, /give auto, none/],
  ["0,0", 2, /give auto, none/],
  ["first", 1, /give auto, none/],
  ["", 1, /give auto, none/],
])("refuses %j for %d threads", (text, threads, message) => {
  expect(() => pinning(text, threads, allowed)).toThrow(message);
});

test("this process may run somewhere", () => {
  expect(allowedCpus().length).toBeGreaterThan(0);
});
