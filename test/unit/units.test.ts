import { expect, test } from "vitest";
import { formatBytes, formatSeconds, parseBytes } from "../../proto/units.js";

test.each([
  ["1", 1],
  ["8589934592", 8589934592],
  ["4k", 4096],
  ["4KiB", 4096],
  ["512MiB", 512 * 1024 ** 2],
  ["8 GiB", 8 * 1024 ** 3],
  ["1.5G", 1.5 * 1024 ** 3],
  ["2TB", 2 * 1024 ** 4],
  ["0", 0],
])("reads %s as %d bytes", (text, bytes) => {
  expect(parseBytes(text, "--vram-budget")).toBe(bytes);
});

test.each(["", "GiB", "-1", "8 Gib it", "1e9", "99999999999TiB", "0x10"])(
  "refuses %j with the option's name",
  (text) => {
    expect(() => parseBytes(text, "--vram-budget")).toThrow(/--vram-budget/);
  },
);

test("writes sizes and durations with units", () => {
  expect(formatBytes(0)).toBe("0 B");
  expect(formatBytes(1536)).toBe("1.50 KiB");
  expect(formatBytes(8 * 1024 ** 3)).toBe("8.00 GiB");
  expect(formatSeconds(0.0000123)).toBe("12 µs");
  expect(formatSeconds(0.0123)).toBe("12.3 ms");
  expect(formatSeconds(12.34)).toBe("12.3 s");
});
