/** `thermocline serve --executor`: executors that others start, and may restart. */
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ENTRIES } from "../support/executor-processes.js";
import { TestClient } from "./support/client.js";
import { type Command, logOf, Sandbox } from "./support/sandbox.js";

const SHORT = { prompt: "Once upon a time", maxTokens: 16 };
const TEXT = ", there was a little girl named Lily. She loved to play with her toys";

let sandbox: Sandbox;
beforeEach(() => {
  sandbox = new Sandbox();
});
afterEach(() => sandbox.remove());

/** Starts an executor at an address of the test's own. */
async function startExecutor(
  kind: "cpu" | "gpu",
  listen: string,
): Promise<{ command: Command; address: string }> {
  const device = kind === "gpu" ? ["--device", "host", "--vram-budget", "4MiB"] : [];
  const command = sandbox.node(ENTRIES[kind], [
    "--listen",
    listen,
    "--threads",
    "1",
    "--pin",
    "none",
    ...device,
  ]);
  await command.until(({ stdout }) => stdout.includes("\n"), "the executor's readiness line");
  return { command, address: (JSON.parse(command.stdout) as { ready: string }).ready };
}

test("over a Unix socket and TCP; a lost one is waited for; at the end they are left alone, and idle", async () => {
  const socket = `unix:${join(sandbox.path, "gpu.sock")}`;
  const gpu = await startExecutor("gpu", socket);
  const cpu = await startExecutor("cpu", "127.0.0.1:0");
  const server = await sandbox.serve("--executor", gpu.address, cpu.address);
  const client = new TestClient(server.address);
  try {
    expect(await client.text(SHORT)).toBe(TEXT);

    const call = client.start({ ...SHORT, maxTokens: 400, ignoreEos: true });
    await call.tokens(3);
    gpu.command.kill("SIGKILL");
    expect((await call.outcome).error).toMatchObject({
      code: "UNAVAILABLE",
      message: expect.stringMatching(
        `^the GPU executor at ${socket} .*; the server is bringing .* try again`,
      ),
    });
    const asked = client.start(SHORT);
    await server.command.until(({ stderr }) => stderr.includes("waiting for the GPU executor"), "the wait");
    await startExecutor("gpu", socket);
    expect(await asked.outcome).toMatchObject({ error: null, text: TEXT });
  } finally {
    client.close();
  }

  server.command.kill("SIGTERM");
  expect((await server.command.ended).code).toBe(0);
  const roles = sandbox.processes().map(({ role }) => role);
  expect(roles.sort()).toEqual(["cpu-executor", "gpu-executor"]);
  // The next server finds them ready to be loaded again, also when the last one was killed.
  const second = await sandbox.serve("--executor", socket, cpu.address);
  second.command.kill("SIGKILL");
  const third = await sandbox.serve("--executor", socket, cpu.address);
  const last = new TestClient(third.address);
  expect(await last.text(SHORT)).toBe(TEXT);
  last.close();
});

test("an executor that ends orderly says so", async () => {
  const cpu = await startExecutor("cpu", `unix:${join(sandbox.path, "cpu.sock")}`);
  const server = await sandbox.serve("--executor", cpu.address);
  cpu.command.kill("SIGTERM");
  expect((await cpu.command.ended).code).toBe(0);
  await server.command.until(({ stderr }) => stderr.includes("recovering"), "the news");
  expect(logOf(server).find(({ msg }) => msg === "recovering")).toMatchObject({
    level: 50,
    reason: `the CPU executor at ${cpu.address} is shutting down`,
  });
});

test("SIGINT while it waits for an executor that is not there", async () => {
  const address = `unix:${join(sandbox.path, "none.sock")}`;
  const command = sandbox.thermocline("serve", "--listen", "127.0.0.1:0", "--executor", address);
  await command.until(({ stderr }) => stderr.includes(`waiting for the executor at ${address}`), "the wait");
  command.kill("SIGINT");
  expect(await command.ended).toMatchObject({ code: 0, stdout: "" });
  expect(sandbox.leftovers()).toEqual([]);
});

test("a bad address is told in one sentence", async () => {
  const { code, stderr } = await sandbox.run("serve", "--listen", "127.0.0.1:0", "--executor", "somewhere");
  expect(stderr).toMatch(/^thermocline: --executor is "somewhere"; give unix:\/path/);
  expect(code).toBe(1);
});
