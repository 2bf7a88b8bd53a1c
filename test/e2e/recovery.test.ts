/** An executor is killed in the middle of everything; the server says so, mends itself, and goes on. */
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { TestClient } from "./support/client.js";
import { kill, type Role, Sandbox, type Server } from "./support/sandbox.js";

/** Longest time from the loss until a request knows of it, as promised to users. */
const TOLD_MS = 1000;
const SHORT = { prompt: "Once upon a time", maxTokens: 16 };
const LONG = { prompt: "Tom had a red ball", ignoreEos: true };

let sandbox: Sandbox;
let server: Server;
let client: TestClient;
let expected: string;
beforeAll(async () => {
  sandbox = new Sandbox();
  server = await sandbox.serve("--gpu", "host", "--slots", "2");
  client = new TestClient(server.address);
  expected = await client.text(SHORT);
});
afterAll(async () => {
  client?.close();
  await sandbox.remove();
});

test.each<[Role, string]>([
  ["gpu-executor", "GPU executor"],
  ["cpu-executor", "CPU executor"],
  ["gpu-executor", "GPU executor"],
])("SIGKILL of the %s", async (role, name) => {
  const served = [client.start(LONG), client.start(LONG)];
  await Promise.all(served.map((call) => call.tokens(3)));
  const queued = client.start(SHORT);
  const pid = sandbox.pidOf(role);
  const killedMs = performance.now();
  process.kill(pid, "SIGKILL");
  for (const { error, endedMs } of await Promise.all(served.map(({ outcome }) => outcome))) {
    expect(error).toMatchObject({
      code: "UNAVAILABLE",
      message:
        `the ${name} (pid ${pid}) was killed by SIGKILL; ` +
        "the server is bringing its executors back, try again in a moment",
    });
    expect(endedMs - killedMs).toBeLessThan(TOLD_MS);
  }
  // Asked while the executor is away.
  const asked = client.start(SHORT);
  for (const call of [queued, asked]) {
    expect(await call.outcome).toMatchObject({ error: null, text: expected });
  }
  expect(sandbox.pidOf(role)).not.toBe(pid);
  expect(await client.text(SHORT)).toBe(expected);
});

test("SIGKILL of both executors while nothing is asked: the next request is answered", async () => {
  const pids = [sandbox.pidOf("gpu-executor"), sandbox.pidOf("cpu-executor")];
  const { length } = server.command.stderr;
  for (const pid of pids) process.kill(pid, "SIGKILL");
  // Before the server knows, it would begin the request, and fail it.
  await server.command.until(({ stderr }) => stderr.slice(length).includes("recovering"), "the recovery");
  expect(await client.text(SHORT)).toBe(expected);
  expect(sandbox.processes().map(({ pid }) => pid)).not.toEqual(expect.arrayContaining(pids));
});

test("an executor that dies again and again: the server gives up, says so, and leaves nothing behind", async () => {
  const other = new Sandbox();
  try {
    const { command } = await other.serve("--gpu", "off");
    let over = false;
    const ended = command.ended.finally(() => {
      over = true;
    });
    while (!over) {
      for (const { pid, role } of other.processes()) if (role === "cpu-executor") kill(pid);
      await delay(20);
    }
    const { code, stderr } = await ended;
    expect(stderr).toMatch(
      /^thermocline: the executors failed 5 times in a row, so the server has given up: the CPU executor .*$/m,
    );
    expect(code).toBe(1);
    expect(other.leftovers()).toEqual([]);
  } finally {
    await other.remove();
  }
});
