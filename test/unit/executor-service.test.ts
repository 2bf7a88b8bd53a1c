/** The control service and its client over a real socket, with fakes behind it. */
import { linkSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Server } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ExecutorClient } from "../../coordinator/executors/client.js";
import { loadRequest } from "../../coordinator/executors/load-request.js";
import { listen, removeSocket } from "../../cpu-executor/listener.js";
import { executorService } from "../../cpu-executor/service.js";
import { NativeError } from "../../native/index.js";
import { type Address, formatAddress, unixAddress } from "../../proto/address.js";
import {
  ExecutorService,
  ExecutorState,
  StatusResponseSchema,
} from "../../proto/gen/thermocline/v1/executor_pb.js";
import { ExecutorKind } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { serviceDefinition } from "../../proto/grpc.js";
import { VERSION } from "../../proto/version.js";
import { fakeExecutor, fakePlan } from "../support/fake-executor.js";

const DEADLINE_MS = 10_000;
const never = new AbortController().signal;
const quiet = () => undefined;

let folder: string;
let address: Address;
let server: Server;
let health: HealthImplementation;
let client: ExecutorClient;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "thermocline-test-"));
  address = unixAddress(join(folder, "executor.sock"));
  server = new Server();
  health = new HealthImplementation({ "": "SERVING" });
  health.addToServer(server);
  client = new ExecutorClient(address, "the CPU executor (pid 1)");
});

afterEach(() => {
  client.close();
  server.forceShutdown();
  rmSync(folder, { recursive: true });
});

async function serve(fakes = fakeExecutor()) {
  server.addService(serviceDefinition(ExecutorService), executorService(fakes.executor));
  await listen(server, address);
  return fakes;
}

const request = (arena: string = "arena") => loadRequest(fakePlan(), { name: arena, epoch: 1n });

test("Status says what the executor is", async () => {
  await serve();
  expect(await client.status(null)).toMatchObject({
    state: ExecutorState.IDLE,
    kind: ExecutorKind.CPU,
    device: "cpu",
    pid: process.pid,
    budgetBytes: 1n << 20n,
    threads: 2,
    version: VERSION,
  });
});

test("the socket is for its owner alone", async () => {
  await serve();
  expect(statSync(join(folder, "executor.sock")).mode & 0o777).toBe(0o600);
});

test("Load streams progress and ends with what was taken; Drain goes back to idle", async () => {
  await serve();
  const progress: [number, number][] = [];
  const loaded = await client.load(
    request(),
    (done, total) => progress.push([done, total]),
    DEADLINE_MS,
    never,
  );
  expect(loaded).toMatchObject({
    weightBytes: 100n,
    kvCacheBytes: 20n,
    scratchBytes: 3n,
    instructionSet: "scalar",
    threads: 2,
  });
  expect(progress).toEqual([
    [1, 100],
    [100, 100],
  ]);
  expect(await client.status(null)).toMatchObject({ state: ExecutorState.SERVING, steps: 7n });
  await client.drain(DEADLINE_MS);
  expect(await client.status(null)).toMatchObject({ state: ExecutorState.IDLE });
});

test("StageExchange answers with the bytes to be copied, and is cancelled with its call", async () => {
  const { device, journal } = await serve();
  await client.load(request(), quiet, DEADLINE_MS, never);
  const exchange = {
    number: 5n,
    layers: [{ layer: 1, first: [0], second: [2] }],
    planDigest: new Uint8Array(32),
  };
  expect(await client.stageExchange(exchange, DEADLINE_MS, never)).toBe(64);
  expect(journal.at(-1)).toBe("stage 5 on engine 0");
  await expect(
    client.stageExchange({ ...exchange, planDigest: new Uint8Array(31) }, DEADLINE_MS, never),
  ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: /plan_digest has 31 bytes/ });
  await expect(
    client.stageExchange({ ...exchange, number: 2n ** 60n }, DEADLINE_MS, never),
  ).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: /number is 1152921504606846976/ });
  if (device.engine !== null) device.engine.holdStage = true;
  const cancel = new AbortController();
  const staged = client.stageExchange(exchange, DEADLINE_MS, cancel.signal);
  await vi.waitFor(() => expect(journal.filter((event) => event.startsWith("stage"))).toHaveLength(2));
  cancel.abort();
  await expect(staged).rejects.toMatchObject({ code: "CANCELLED" });
});

test("an error keeps its code and its sentence, and the state tells of it", async () => {
  const { device } = await serve();
  device.error = new NativeError("unsupported", 'there are no kernels for tensor type "q4_0"', null);
  await expect(client.load(request(), quiet, DEADLINE_MS, never)).rejects.toMatchObject({
    code: "UNIMPLEMENTED",
    message: 'the CPU executor (pid 1): there are no kernels for tensor type "q4_0"',
  });
  expect(await client.status(null)).toMatchObject({
    state: ExecutorState.FAILED,
    failure: 'there are no kernels for tensor type "q4_0"',
  });
});

test("a request that contradicts itself leaves a serving executor as it is", async () => {
  const { executor } = await serve();
  await client.load(request(), quiet, DEADLINE_MS, never);
  await expect(client.load({ ...request(), slots: 0 }, quiet, DEADLINE_MS, never)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    message: /slots is 0/,
  });
  expect(executor.state.kind).toBe("serving");
});

test("cancelling the call cancels the load", async () => {
  const { executor, device, journal } = await serve();
  device.hold = true;
  const cancel = new AbortController();
  const load = client.load(request(), quiet, DEADLINE_MS, cancel.signal);
  await vi.waitFor(() => expect(journal).toContain("load engine 0"));
  cancel.abort();
  await expect(load).rejects.toMatchObject({ code: "CANCELLED" });
  await vi.waitFor(() => expect(executor.state).toMatchObject({ kind: "failed", held: null }));
});

test("a Load past its deadline is cancelled on both sides", async () => {
  const { executor, device } = await serve();
  device.hold = true;
  await expect(client.load(request(), quiet, 50, never)).rejects.toMatchObject({ code: "DEADLINE_EXCEEDED" });
  await vi.waitFor(() => expect(executor.state).toMatchObject({ kind: "failed", held: null }));
});

test("another version is refused", async () => {
  server.addService(serviceDefinition(ExecutorService), {
    status: (_call: unknown, callback: (error: null, value: unknown) => void) =>
      callback(null, create(StatusResponseSchema, { version: "0.0.1-other" })),
  });
  await listen(server, address);
  await expect(client.status(null)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: `the CPU executor (pid 1) is version "0.0.1-other" and this coordinator is version "${VERSION}"; run the same version on both sides`,
  });
});

test("nobody there is UNAVAILABLE", async () => {
  await expect(client.status(null)).rejects.toMatchObject({ code: "UNAVAILABLE" });
});

test("an executor that says it is going is lost, once", async () => {
  await serve();
  const lost: string[] = [];
  client.watch((cause) => lost.push(cause));
  await client.status(null);
  health.setStatus("", "NOT_SERVING");
  await vi.waitFor(() => expect(lost).toEqual(["is shutting down"]));
  server.forceShutdown();
  await expect(client.status(null, 500)).rejects.toThrow();
  expect(lost).toHaveLength(1);
});

test("an executor whose connection breaks is lost", async () => {
  await serve();
  const lost: string[] = [];
  client.watch((cause) => lost.push(cause));
  await client.status(null);
  server.forceShutdown();
  await vi.waitFor(() => expect(lost).toEqual([expect.stringMatching(/the control connection$/)]));
});

test("a client that is closed tells of no loss", async () => {
  await serve();
  const lost: string[] = [];
  client.watch((cause) => lost.push(cause));
  await client.status(null);
  client.close();
  server.forceShutdown();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(lost).toEqual([]);
});

test("a socket left by a dead process is replaced", async () => {
  // Closing a listener removes its file by name; under a second name it stays, as after a SIGKILL.
  const [path, name] = [join(folder, "executor.sock"), join(folder, "first-name.sock")];
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(name, resolve));
  linkSync(name, path);
  await new Promise((resolve) => dead.close(resolve));
  await serve();
  expect(await client.status(null)).toMatchObject({ state: ExecutorState.IDLE });
});

test("a living process's socket is left alone", async () => {
  await serve();
  const second = new Server();
  await expect(listen(second, address)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: expect.stringContaining(`cannot listen at ${formatAddress(address)}`),
  });
  second.forceShutdown();
  expect(await client.status(null)).toMatchObject({ state: ExecutorState.IDLE });
});

test("the folder goes with its last socket", async () => {
  const inner = mkdtempSync(join(folder, "run-"));
  const [first, second] = ["a.sock", "b.sock"].map((name) => unixAddress(join(inner, name)));
  if (first === undefined || second === undefined) throw new Error("two addresses");
  const servers = [new Server(), new Server()];
  await listen(servers[0] ?? server, first);
  await listen(servers[1] ?? server, second);
  removeSocket(first, true);
  expect(statSync(inner).isDirectory()).toBe(true);
  removeSocket(second, true);
  expect(() => statSync(inner)).toThrow(/ENOENT/);
  removeSocket(second, true);
  for (const each of servers) each.forceShutdown();
});
