/** What is left, and what breaks, when a process ends with arenas open and threads at work. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { sweepArenas } from "../../native/index.js";
import { ADDON_PATH } from "./raw-addon.js";
import { SMALL } from "./small-arena.js";

const children: ChildProcess[] = [];
afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
});

/** A Node process with the addon as `addon`, an arena's `options`, and `busy()`: a wait and a bandwidth measurement. */
function start(script: string, ...flags: string[]): ChildProcess {
  const prelude = `
    const addon = require(${JSON.stringify(ADDON_PATH)});
    const options = ${JSON.stringify(SMALL)};
    const busy = () => {
      const arena = addon.arenaCreate(options);
      const step = addon.arenaSubmit(arena, new Int32Array([1, 0, 0, 0, 0]), false, 0);
      addon.measureBandwidth(1, 1 << 22, 60);
      return addon.arenaWait(arena, step, 60000);
    };`;
  const child = spawn(process.execPath, [...flags, "-e", prelude + script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return child;
}

/** The child's first line of output. */
async function line(child: ChildProcess): Promise<string> {
  let text = "";
  for await (const chunk of child.stdout ?? []) {
    text += chunk;
    if (text.includes("\n")) break;
  }
  return text.slice(0, text.indexOf("\n"));
}

async function status(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return { code: child.exitCode, signal: child.signalCode };
}

function arenasOf(child: ChildProcess): string[] {
  return readdirSync("/dev/shm").filter((name) => name.startsWith(`thermocline-${child.pid}-`));
}

test("an arena left open goes at the process's natural end", async () => {
  const child = start("addon.arenaCreate(options);");
  expect(await status(child)).toEqual({ code: 0, signal: null });
  expect(arenasOf(child)).toEqual([]);
});

test("process.exit with threads at work", async () => {
  const child = start("busy(); setTimeout(() => process.exit(7), 20);");
  expect(await status(child)).toEqual({ code: 7, signal: null });
  sweepArenas();
  expect(arenasOf(child)).toEqual([]);
});

test("an uncaught exception with threads at work", async () => {
  const child = start("process.on('uncaughtException', () => process.exit(8)); busy(); throw new Error();");
  expect(await status(child)).toEqual({ code: 8, signal: null });
});

test("a worker that is terminated with threads at work", async () => {
  const child = start(`
    const { Worker, isMainThread, parentPort } = require("node:worker_threads");
    const script = \`
      const addon = require(${JSON.stringify(ADDON_PATH)});
      const arena = addon.arenaCreate(\${JSON.stringify(options)});
      const step = addon.arenaSubmit(arena, new Int32Array([1, 0, 0, 0, 0]), false, 0);
      addon.measureBandwidth(1, 1 << 22, 60);
      addon.arenaWait(arena, step, 60000);
      require("node:worker_threads").parentPort.postMessage("ready");\`;
    const worker = new Worker(script, { eval: true });
    worker.once("message", () => worker.terminate().then((code) => console.log("ended", code)));`);
  expect(await line(child)).toBe("ended 1");
  expect(await status(child)).toEqual({ code: 0, signal: null });
  expect(arenasOf(child)).toEqual([]);
});

test("a wait keeps the process alive, an idle arena does not", async () => {
  const child = start(`
    const arena = addon.arenaCreate(options);
    const step = addon.arenaSubmit(arena, new Int32Array([1, 0, 0, 0, 0]), false, 0);
    addon.arenaWait(arena, step, 50).then((failure) => console.log(failure.code));`);
  expect(await line(child)).toBe("timed-out");
  expect(await status(child)).toEqual({ code: 0, signal: null });
});

test("handles that are dropped free what they stand for", async () => {
  const child = start(
    `
    const { readdirSync } = require("node:fs");
    const left = () => readdirSync("/dev/shm").filter((name) => name.startsWith("thermocline-" + process.pid));
    for (let i = 0; i < 20; i++) addon.arenaCreate(options);
    const before = left().length;
    const collect = (rounds) => {
      gc();
      if (rounds > 0 && left().length > 0) return setTimeout(collect, 5, rounds - 1);
      console.log(before, left().length);
    };
    setTimeout(collect, 0, 1000);`,
    "--expose-gc",
  );
  expect(await line(child)).toBe("20 0");
});

test("a dropped arena's wait still ends as it would have", async () => {
  const child = start(
    `
    const wait = (() => {
      const arena = addon.arenaCreate(options);
      return addon.arenaWait(arena, addon.arenaSubmit(arena, new Int32Array([1, 0, 0, 0, 0]), false, 0), 100);
    })();
    const collecting = setInterval(() => gc(), 5);
    wait.then((failure) => { console.log(failure.code); clearInterval(collecting); });`,
    "--expose-gc",
  );
  expect(await line(child)).toBe("timed-out");
});

test("the sweep takes the arena of a killed process and no other", async () => {
  const print = "console.log(addon.arenaName(addon.arenaCreate(options))); setInterval(() => {}, 1000);";
  const [dead, live] = [start(print), start(print)];
  const [deadName, liveName] = [await line(dead), await line(live)];
  dead.kill("SIGKILL");
  await status(dead);
  expect(existsSync(join("/dev/shm", deadName))).toBe(true);
  expect(sweepArenas()).not.toContain(liveName);
  expect(existsSync(join("/dev/shm", deadName))).toBe(false);
  expect(existsSync(join("/dev/shm", liveName))).toBe(true);
  live.kill("SIGKILL");
  await status(live);
  sweepArenas();
  expect(existsSync(join("/dev/shm", liveName))).toBe(false);
});

test("dieWithParent ends a child of a killed parent", async () => {
  const grandchild = `
    require(${JSON.stringify(ADDON_PATH)}).dieWithParent();
    process.on("SIGTERM", () => { console.log("told"); process.exit(0); });
    console.log("ready");
    setInterval(() => {}, 1000);`;
  const parent = start(`
    require("node:child_process").spawn(process.execPath, ["-e", ${JSON.stringify(grandchild)}],
      { stdio: ["ignore", "inherit", "inherit"] });
    setInterval(() => {}, 1000);`);
  let text = "";
  for await (const chunk of parent.stdout ?? []) {
    text += chunk;
    if (text === "ready\n") parent.kill("SIGKILL");
  }
  expect(text).toBe("ready\ntold\n");
});
