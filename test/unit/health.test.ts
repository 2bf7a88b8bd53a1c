import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, credentials } from "@grpc/grpc-js";
import { beforeEach, expect, onTestFinished, test } from "vitest";
import { Health, HealthCheckResponse_ServingStatus as Status } from "../../proto/gen/health/v1/health_pb.js";
import { GrpcClient } from "../../proto/grpc.js";
import { startTestServer, type TestServer } from "../support/public-server.js";

const SERVICE = "thermocline.v1.InferenceService";
const OPTIONS = { deadlineMs: 5000, signal: null };

let server: TestServer;
let client: GrpcClient<typeof Health>;
beforeEach(async () => {
  server = await startTestServer();
  const channel = new Client(server.target, credentials.createInsecure());
  client = new GrpcClient(Health, channel);
  onTestFinished(async () => {
    channel.close();
    await server.close();
  });
});

test.each(["", SERVICE])('Check of "%s" follows the server', async (service) => {
  const check = async () => (await client.unary("check", { service }, OPTIONS)).status;
  expect(await check()).toBe(Status.SERVING);
  server.server.setServing(false);
  expect(await check()).toBe(Status.NOT_SERVING);
});

test("a server is not serving before it is said to be", async () => {
  const early = await startTestServer();
  early.server.setServing(false);
  onTestFinished(() => early.close());
  const health = createClient(Health, createGrpcTransport({ baseUrl: early.url }));
  expect((await health.check({})).status).toBe(Status.NOT_SERVING);
});

test("Check of an unknown service is NOT_FOUND", async () => {
  await expect(client.unary("check", { service: "no.such" }, OPTIONS)).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: 'there is no service "no.such" here',
  });
});

test("List has every name", async () => {
  const { statuses } = await client.unary("list", {}, OPTIONS);
  expect(Object.keys(statuses).sort()).toEqual(["", SERVICE]);
});

test("Watch tells the status at once and every change of it, and ends with the server", async () => {
  const watch = client.serverStream("watch", { service: SERVICE }, OPTIONS)[Symbol.asyncIterator]();
  const next = async () => (await watch.next()).value?.status;
  expect(await next()).toBe(Status.SERVING);
  server.server.setServing(false);
  expect(await next()).toBe(Status.NOT_SERVING);
  server.server.setServing(false);
  server.server.setServing(true);
  expect(await next()).toBe(Status.SERVING);
  const closing = server.close();
  expect(await next()).toBe(Status.NOT_SERVING);
  expect((await watch.next()).done).toBe(true);
  await closing;
});

test("Watch of an unknown service says so, and goes on until the client leaves", async () => {
  const health = createClient(Health, createGrpcTransport({ baseUrl: server.url }));
  const control = new AbortController();
  const seen: Status[] = [];
  const watching = (async () => {
    for await (const { status } of health.watch({ service: "no.such" }, { signal: control.signal })) {
      seen.push(status);
      server.server.setServing(false);
      control.abort();
    }
  })();
  await expect(watching).rejects.toMatchObject({ code: Code.Canceled });
  expect(seen).toEqual([Status.SERVICE_UNKNOWN]);
});
