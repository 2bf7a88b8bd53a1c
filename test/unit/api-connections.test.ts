/** The public port's connections: where it listens, clients that misbehave, and its end. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { join } from "node:path";
import { create, toBinary } from "@bufbuild/protobuf";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { Client, credentials } from "@grpc/grpc-js";
import { describe, expect, onTestFinished, test } from "vitest";
import { startServer } from "../../coordinator/api/server.js";
import type { Address } from "../../proto/address.js";
import { GenerateRequestSchema, InferenceService } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { GrpcClient } from "../../proto/grpc.js";
import { loneRun, request, turns, until } from "../support/generation.js";
import { startTestServer } from "../support/public-server.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const unix = (name: string): Address => ({ kind: "unix", path: join(folder, name) });

async function fresh(...options: Parameters<typeof startTestServer>) {
  const server = await startTestServer(...options);
  onTestFinished(() => server.close());
  return server;
}

async function tokenizeOverGrpcJs(target: string): Promise<number[]> {
  const channel = new Client(target, credentials.createInsecure());
  onTestFinished(() => channel.close());
  const client = new GrpcClient(InferenceService, channel);
  return (await client.unary("tokenize", { text: "a" }, { deadlineMs: 5000, signal: null })).tokens;
}

const grpcClient = (baseUrl: string) => createClient(InferenceService, createGrpcTransport({ baseUrl }));

/** One gRPC message on the wire. */
function frame(bytes: Uint8Array): Buffer {
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(bytes.length, 1);
  return Buffer.concat([prefix, bytes]);
}

describe("listening", () => {
  test("a Unix socket serves, and is gone after the end", async () => {
    const server = await startTestServer({}, {}, unix("a.sock"));
    expect(await tokenizeOverGrpcJs(server.target)).toEqual([0, 4]);
    await server.close();
    expect(existsSync(join(folder, "a.sock"))).toBe(false);
  });

  test("the socket of a server that was killed is replaced", async () => {
    const path = join(folder, "stale.sock");
    const script = `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
    spawnSync(process.execPath, ["-e", script], { timeout: 10_000 });
    expect(existsSync(path)).toBe(true);
    const server = await fresh({}, {}, unix("stale.sock"));
    expect(await tokenizeOverGrpcJs(server.target)).toEqual([0, 4]);
  });

  test.each(["a Unix socket", "a TCP port"])(
    "%s that somebody else listens at is left alone",
    async (kind) => {
      const first = await fresh({}, {}, kind === "a TCP port" ? undefined : unix("taken.sock"));
      await expect(startTestServer({}, {}, first.server.address)).rejects.toMatchObject({
        code: "FAILED_PRECONDITION",
        message: `cannot listen at ${first.target}: something else listens there; free it or give another --listen`,
      });
      expect(await tokenizeOverGrpcJs(first.target)).toEqual([0, 4]);
    },
  );

  test("an address that cannot be bound is named", async () => {
    const address = unix("no/such/folder.sock");
    await expect(startServer(address, {} as never)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringContaining("no/such/folder.sock"),
    });
  });
});

describe("misbehaving clients", () => {
  test("a request without a Host header is refused, and the server lives", async () => {
    const server = await fresh();
    const socket = connect(server.port, "127.0.0.1");
    socket.write(
      "POST /thermocline.v1.InferenceService/Tokenize HTTP/1.0\r\nContent-Type: application/json\r\n\r\n",
    );
    let answer = "";
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    expect(await tokenizeOverGrpcJs(server.target)).toEqual([0, 4]);
  });

  test("a body that is no message is an error of its sender", async () => {
    const server = await fresh();
    const url = `${server.url}/thermocline.v1.InferenceService/Tokenize`;
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: '{"text":',
    });
    expect(await response.json()).toMatchObject({ code: "invalid_argument" });
    const wrong = await fetch(url, { method: "POST", headers: { "content-type": "text/plain" }, body: "hi" });
    expect(wrong.status).toBe(415);
    expect((await fetch(url)).status).toBe(405);
  });

  test("a connection cut in the middle of a request or an answer leaves the server whole", async () => {
    const server = await fresh({ slots: 1 });
    const half = connect(server.port, "127.0.0.1");
    half.write(
      "POST /thermocline.v1.InferenceService/Tokenize HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" +
        'Content-Length: 100\r\n\r\n{"text"',
    );
    await turns(20);
    half.resetAndDestroy();

    server.runner.holdFrom = 3;
    const session = connectHttp2(server.url).on("error", () => undefined);
    const stream = session.request({
      ":method": "POST",
      ":path": "/thermocline.v1.InferenceService/Generate",
      "content-type": "application/grpc",
    });
    stream.on("error", () => undefined);
    stream.end(frame(toBinary(GenerateRequestSchema, create(GenerateRequestSchema, { prompt: "abc" }))));
    await until(() => server.runner.steps.length === 3, "the answer began");
    session.destroy();

    const next = grpcClient(server.url).generate({ promptTokens: [9], maxTokens: 1, ignoreEos: true });
    await until(() => server.signals[0]?.aborted === true, "the end arrived");
    server.runner.release();
    const ids = [];
    for await (const { event } of next) if (event.case === "token") ids.push(event.value.id);
    expect(ids).toEqual(loneRun(request({ promptTokens: [9], maxTokens: 1 }), 2000).tokens);
  });

  test("a client that stops reading stops its own request alone, and gets all of it later", async () => {
    const server = await fresh({ slots: 2, contextLength: 6000 });
    const session = connectHttp2(server.url);
    onTestFinished(() => session.destroy());
    const stream = session.request({
      ":method": "POST",
      ":path": "/thermocline.v1.InferenceService/Generate",
      "content-type": "application/grpc",
    });
    const asked = create(GenerateRequestSchema, {
      promptTokens: [4],
      maxTokens: 500,
      ignoreEos: true,
      topLogprobs: 32,
    });
    stream.end(frame(toBinary(GenerateRequestSchema, asked)));
    await until(() => server.signals.length === 1, "it is there");
    const rowsOfSlow = () => server.runner.steps.flat().filter((row) => row.slot === 0).length;
    const other = grpcClient(server.url).generate({ promptTokens: [9], maxTokens: 700, ignoreEos: true });
    const ids = [];
    for await (const { event } of other) if (event.case === "token") ids.push(event.value.id);
    expect(ids).toHaveLength(700);
    expect(rowsOfSlow()).toBeGreaterThan(10);
    expect(rowsOfSlow()).toBeLessThan(500);

    let bytes = 0;
    let trailers: Record<string, unknown> = {};
    stream.on("trailers", (headers) => {
      trailers = headers;
    });
    for await (const chunk of stream) bytes += (chunk as Buffer).length;
    expect(rowsOfSlow()).toBe(500);
    expect(bytes).toBeGreaterThan(100_000);
    expect(trailers["grpc-status"]).toBe("0");
  });
});

describe("closing", () => {
  test("idle connections of both protocols are closed at once", async () => {
    const server = await startTestServer();
    await fetch(`${server.url}/`);
    const session = connectHttp2(server.url);
    const ended = new Promise((resolve) => session.on("close", resolve));
    await new Promise((resolve) => session.on("remoteSettings", resolve));
    await server.close();
    await ended;
    await expect(fetch(`${server.url}/`)).rejects.toThrow();
  });

  test("calls at work may end, within the grace", async () => {
    const server = await startTestServer();
    server.runner.holdFrom = 2;
    const stream = grpcClient(server.url).generate({ promptTokens: [9], maxTokens: 3, ignoreEos: true });
    const reading = (async () => {
      const cases = [];
      for await (const { event } of stream) cases.push(event.case);
      return cases;
    })();
    await until(() => server.runner.steps.length === 2, "it is at work");
    const closing = server.server.close();
    server.runner.release();
    expect(await reading).toEqual(["token", "token", "token", "summary"]);
    await closing;
    await server.close();
  });

  test("those that go on are cut after it, and their slots are free", async () => {
    const server = await startTestServer();
    server.runner.holdFrom = 2;
    const reading = (async () => {
      for await (const _ of grpcClient(server.url).generate({ prompt: "a" }));
    })();
    reading.catch(() => undefined);
    await until(() => server.runner.steps.length === 2, "it is at work");
    await server.server.close();
    await expect(reading).rejects.toMatchObject({
      code: Code.Unavailable,
      rawMessage: "the server is shutting down",
    });
    await until(() => server.signals[0]?.aborted === true, "the request is given up");
    await server.close();
  });

  test("closing twice is closing once", async () => {
    const server = await startTestServer();
    await Promise.all([server.server.close(), server.server.close()]);
    await server.close();
  });
});
