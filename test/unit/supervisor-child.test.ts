/** Children that stand in for executors: small scripts with every bad habit. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { Child } from "../../coordinator/executors/child.js";
import { unixAddress } from "../../proto/address.js";

const READY_MS = 30_000;
const never = new AbortController().signal;
const folder = mkdtempSync(join(tmpdir(), "thermocline-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

let scripts = 0;
function child(source: string, logged: string[] = []): Child {
  const entry = join(folder, `child-${scripts++}.mjs`);
  writeFileSync(entry, source);
  const listen = unixAddress(join(folder, "x.sock"));
  const args = ["--threads", "2"];
  return new Child({ label: "the CPU executor", entry, args, listen, onLog: (line) => logged.push(line) });
}

const READY = `process.stdout.write(JSON.stringify({ ready: "unix:/tmp/somewhere.sock" }) + "\\n");`;
const WAIT = "process.stdin.resume(); process.stdin.on('end', () => process.exit(0));";

function isAlive(pid: number | null): boolean {
  return pid !== null && existsSync(`/proc/${pid}`);
}

test("is given its address and its options, and says where it listens", async () => {
  const logged: string[] = [];
  const one = child(`console.error(process.argv.slice(2).join(" ")); ${READY} ${WAIT}`, logged);
  expect(await one.ready(READY_MS, never)).toEqual({ kind: "unix", path: "/tmp/somewhere.sock" });
  await one.stop();
  expect(logged).toEqual([`--listen unix:${join(folder, "x.sock")} --with-parent --threads 2`]);
  expect(await one.exited).toBe("was killed by SIGTERM");
  expect(isAlive(one.pid)).toBe(false);
});

test("one that ends instead of getting ready says why in its last words", async () => {
  const one = child(
    `console.error('--threads is "x"'); console.error('{"level":30,"msg":"bye"}'); process.exit(3);`,
  );
  await expect(one.ready(READY_MS, never)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: 'the CPU executor exited with code 3: --threads is "x"',
  });
});

test("one that never gets ready is killed at its deadline", async () => {
  const one = child(`process.on("SIGTERM", () => {}); ${WAIT}`);
  await expect(one.ready(50, never)).rejects.toMatchObject({
    code: "DEADLINE_EXCEEDED",
    message: "the CPU executor was not ready within 50 ms",
  });
  expect(await one.exited).toBe("was killed by SIGKILL");
});

test("waiting for it can be cancelled, which kills it", async () => {
  const one = child(WAIT);
  const cancel = new AbortController();
  const ready = one.ready(READY_MS, cancel.signal);
  cancel.abort(new Error("not needed any more"));
  await expect(ready).rejects.toThrow("not needed any more");
  expect(await one.exited).toBe("was killed by SIGKILL");
});

test("one that ignores SIGTERM is killed", async () => {
  const one = child(`process.on("SIGTERM", () => {}); ${READY} ${WAIT}`);
  await one.ready(READY_MS, never);
  await one.stop();
  expect(await one.exited).toBe("was killed by SIGKILL");
  expect(isAlive(one.pid)).toBe(false);
});

test("stopping one that has ended is nothing", async () => {
  const one = child("process.exit(0)");
  expect(await one.exited).toBe("exited with code 0");
  await one.stop();
  one.kill();
});

test("a missing entry is an error that names it", async () => {
  const entry = join(folder, "missing.mjs");
  const listen = unixAddress(join(folder, "x.sock"));
  const one = new Child({ label: "the GPU executor", entry, args: [], listen, onLog: () => undefined });
  await expect(one.ready(READY_MS, never)).rejects.toThrow(/^the GPU executor exited with code 1/);
});
