import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { isRunning, parentIn, processTree, proportionalBytes } from "../../bench/process-tree.js";

test("finds the parent behind a command that holds anything", () => {
  expect(parentIn("4711 (node) S 12 4711 4711 0")).toBe(12);
  expect(parentIn("4711 (a) R 1 (b) ) S 12 4711 4711 0")).toBe(12);
});

test("sees a process, its children and theirs, each with memory of its own, until they end", async () => {
  const idle = "setInterval(() => undefined, 1000)";
  const program =
    `const child = require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(idle)}]);` +
    `process.stdout.write(child.pid + "\\n"); process.stdin.resume().on("end", () => child.kill());`;
  const child = spawn(process.execPath, ["-e", program], { stdio: ["pipe", "pipe", "inherit"] });
  const exited = once(child, "exit");
  try {
    const [line] = (await once(child.stdout, "data")) as [Buffer];
    const grandchild = Number(line.toString());
    const tree = processTree(child.pid ?? 0);
    expect(tree).toEqual([child.pid, grandchild]);
    expect(tree.every(isRunning)).toBe(true);
    for (const pid of tree) expect(proportionalBytes(pid)).toBeGreaterThan(2 ** 20);
  } finally {
    child.stdin.end();
    await exited;
  }
  expect(processTree(child.pid ?? 0)).toEqual([child.pid]);
  expect(isRunning(child.pid ?? 0)).toBe(false);
  expect(proportionalBytes(child.pid ?? 0)).toBe(0);
});
