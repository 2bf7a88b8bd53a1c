import { expect, test } from "vitest";
import { formatAddress, parseAddress } from "../../proto/address.js";

test.each([
  ["unix:/run/t/gpu.sock", { kind: "unix", path: "/run/t/gpu.sock" }, "unix:/run/t/gpu.sock"],
  ["unix:///run/gpu.sock", { kind: "unix", path: "/run/gpu.sock" }, "unix:/run/gpu.sock"],
  ["unix:gpu.sock", { kind: "unix", path: `${process.cwd()}/gpu.sock` }, `unix:${process.cwd()}/gpu.sock`],
  ["127.0.0.1:50060", { kind: "tcp", host: "127.0.0.1", port: 50060 }, "127.0.0.1:50060"],
  ["gpu-executor:0", { kind: "tcp", host: "gpu-executor", port: 0 }, "gpu-executor:0"],
  ["[::1]:65535", { kind: "tcp", host: "::1", port: 65535 }, "[::1]:65535"],
])("reads %s", (text, address, written) => {
  expect(parseAddress(text, "--listen")).toEqual(address);
  expect(formatAddress(parseAddress(text, "--listen"))).toBe(written);
});

test.each([
  "",
  "unix:",
  "localhost",
  "localhost:",
  ":50060",
  "host:65536",
  "host:-1",
  "::1:50060",
  "[x]:1",
  "a b:1",
])("refuses %j with the option's name", (text) => {
  expect(() => parseAddress(text, "--listen")).toThrow(/--listen/);
});

test("a socket path longer than the kernel takes is refused with its length", () => {
  const path = `/${"x".repeat(106)}`;
  expect(parseAddress(`unix:${path}`, "--listen")).toEqual({ kind: "unix", path });
  expect(() => parseAddress(`unix:${path}y`, "--listen")).toThrow(/has 108 bytes.*at most 107/);
});
