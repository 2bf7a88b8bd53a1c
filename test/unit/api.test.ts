import { execFile } from "node:child_process";
import { setMaxListeners } from "node:events";
import { promisify } from "node:util";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { Client, credentials } from "@grpc/grpc-js";
import { trace } from "@opentelemetry/api";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { GenerationRequest } from "../../coordinator/schedule/generation.js";
import { ThermoclineError } from "../../proto/errors.js";
import {
  ExecutorKind,
  FinishReason,
  type GenerateRequestSchema,
  type GenerateResponse,
  GetPlacementResponseSchema,
  InferenceService,
} from "../../proto/gen/thermocline/v1/inference_pb.js";
import { GrpcClient } from "../../proto/grpc.js";
import { loneRun, request, until } from "../support/generation.js";
import { startTestServer, type TestServer } from "../support/public-server.js";

let shared: TestServer;
beforeAll(async () => {
  shared = await startTestServer();
});
afterAll(() => shared.close());

async function fresh(...options: Parameters<typeof startTestServer>): Promise<TestServer> {
  const server = await startTestServer(...options);
  onTestFinished(() => server.close());
  return server;
}

type Asked = MessageInitShape<typeof GenerateRequestSchema>;

/** Tokens, joined text and the summary of a stream. */
async function read(responses: AsyncIterable<GenerateResponse>) {
  const tokens: number[] = [];
  let text = "";
  for await (const { event } of responses) {
    if (event.case === "summary") return { tokens, text: text + event.value.text, summary: event.value };
    if (event.case === "token") {
      tokens.push(event.value.id);
      text += event.value.text;
    }
  }
  throw new Error("the stream ended without a summary");
}

const grpcClient = (server: TestServer) =>
  createClient(InferenceService, createGrpcTransport({ baseUrl: server.url }));

const PROTOCOLS: [string, (baseUrl: string) => Transport][] = [
  ["gRPC", (baseUrl) => createGrpcTransport({ baseUrl })],
  ["gRPC-Web over HTTP/1.1", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "1.1" })],
  ["gRPC-Web over HTTP/2", (baseUrl) => createGrpcWebTransport({ baseUrl, httpVersion: "2" })],
  ["Connect over HTTP/1.1", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1" })],
  ["Connect over HTTP/2", (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "2" })],
  [
    "Connect with JSON",
    (baseUrl) => createConnectTransport({ baseUrl, httpVersion: "1.1", useBinaryFormat: false }),
  ],
];

describe.each(PROTOCOLS)("%s", (_name, transport) => {
  const client = () => createClient(InferenceService, transport(shared.url));

  test("streams a generation", async () => {
    const asked = request({ promptTokens: [4, 5, 6], maxTokens: 20 });
    const { tokens, text, summary } = await read(
      client().generate({ promptTokens: [4, 5, 6], maxTokens: 20, ignoreEos: true }),
    );
    expect({ tokens, text, finishReason: "max-tokens" }).toEqual(loneRun(asked, 2000));
    expect(summary).toMatchObject({
      finishReason: FinishReason.MAX_TOKENS,
      promptTokens: 3,
      generatedTokens: 20,
    });
  });

  test("answers the unary calls", async () => {
    expect((await client().tokenize({ text: "abc" })).tokens).toEqual([0, 4, 5, 6]);
    expect((await client().tokenize({ text: "abc", addSpecial: false })).tokens).toEqual([4, 5, 6]);
    expect((await client().detokenize({ tokens: [0, 4, 5, 6] })).text).toBe("abc");
    expect(await client().getModel({})).toMatchObject({
      name: "test model",
      activation: "relu",
      reluThreshold: 0.25,
      contextLength: 2000,
      trainedContextLength: 2048,
      slots: 4,
      parameters: 98_765n,
      fileBytes: 123_456n,
    });
  });

  test("passes errors with code and sentence, unary and streaming", async () => {
    await expect(client().detokenize({ tokens: Array(65_537).fill(4) })).rejects.toMatchObject({
      code: Code.InvalidArgument,
      rawMessage: "there are 65537 tokens, and this server turns at most 65536 into text at once; give fewer",
    });
    await expect(client().detokenize({ tokens: [32] })).rejects.toMatchObject({
      code: Code.InvalidArgument,
      rawMessage: "tokens[0] is 32, and the vocabulary has 32 tokens; give ids below that",
    });
    await expect(read(client().generate({}))).rejects.toMatchObject({
      code: Code.InvalidArgument,
      rawMessage: "neither prompt nor prompt_tokens is given; give one of them",
    });
  });
});

describe("grpc-js", () => {
  test("streams a generation and passes errors", async () => {
    const channel = new Client(shared.target, credentials.createInsecure());
    onTestFinished(() => channel.close());
    const client = new GrpcClient(InferenceService, channel);
    const options = { deadlineMs: 5000, signal: null };
    const asked = { prompt: "abc", maxTokens: 4, ignoreEos: true };
    const { tokens } = await read(client.serverStream("generate", asked, options));
    expect(tokens).toEqual(loneRun(request({ promptTokens: [0, 4, 5, 6], maxTokens: 4 }), 2000).tokens);
    await expect(
      read(client.serverStream("generate", { ...asked, maxTokens: 0 }, options)),
    ).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: "max_tokens is 0; give at least 1, or leave it out to use what is left of the context",
    });
    expect((await client.unary("tokenize", { text: "a" }, options)).tokens).toEqual([0, 4]);
  });
});

describe("plain HTTP", () => {
  const post = (path: string, body: string, headers: Record<string, string> = {}) =>
    fetch(`${shared.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body,
    });

  test("JSON in, JSON out", async () => {
    const response = await post("/thermocline.v1.InferenceService/Tokenize", '{"text":"hi"}');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ tokens: [0, 11, 12] });
  });

  test("an error is JSON with code and sentence", async () => {
    const response = await post("/thermocline.v1.InferenceService/Detokenize", '{"tokens":[1,99]}');
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({
      code: "invalid_argument",
      message: "tokens[1] is 99, and the vocabulary has 32 tokens; give ids below that",
    });
  });

  test("other paths are not found, and say so", async () => {
    const response = await fetch(`${shared.url}/elsewhere?a=b`);
    expect(response.status).toBe(404);
    expect(await response.text()).toBe("there is nothing at /elsewhere\n");
  });
});

describe("buf curl, knowing no schema", () => {
  const buf = async (...args: string[]) =>
    (await promisify(execFile)("node_modules/.bin/buf", ["curl", ...args], { timeout: 20_000 })).stdout;
  const grpc = ["--protocol", "grpc", "--http2-prior-knowledge"];

  test("generates", async () => {
    const url = `${shared.url}/thermocline.v1.InferenceService/Generate`;
    const out = await buf(...grpc, "-d", '{"prompt":"abc","maxTokens":3,"ignoreEos":true}', url);
    expect(out.match(/"token"/g)).toHaveLength(3);
    expect(out).toContain('"finishReason": "FINISH_REASON_MAX_TOKENS"');
  });

  test.each(["grpc-v1", "grpc-v1alpha"])("lists the methods through %s", async (reflection) => {
    const out = await buf(...grpc, "--reflect-protocol", reflection, "--list-methods", shared.url);
    for (const method of [
      "thermocline.v1.InferenceService/Generate",
      "grpc.health.v1.Health/Watch",
      "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ]) {
      expect(out).toContain(method);
    }
    expect(out).not.toContain("ExecutorService");
  });

  test("checks health", async () => {
    const out = await buf(...grpc, "-d", "{}", `${shared.url}/grpc.health.v1.Health/Check`);
    expect(JSON.parse(out)).toEqual({ status: "SERVING" });
  });
});

describe("a generate request", () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => `s${i}`);
  const sampling = (changes: object) => ({ prompt: "a", sampling: changes });
  test.each<[string, Asked]>([
    ["both prompt and prompt_tokens are given; give one of them", { prompt: "a", promptTokens: [5] }],
    ["prompt_tokens[1] is 32, and the vocabulary has 32 tokens", { promptTokens: [31, 32] }],
    ["the prompt has 2000 tokens, and the context of 2000 must", { promptTokens: many(2000).map(() => 5) }],
    ["prompt has 70000 characters, and this server with its context", { prompt: "a".repeat(70_000) }],
    ["max_tokens is 0; give at least 1", { prompt: "a", maxTokens: 0 }],
    ["there are 17 stop strings; give at most 16", { prompt: "a", stop: many(17) }],
    ["stop[1] is empty; leave it out", { prompt: "a", stop: ["x", ""] }],
    ["top_logprobs is 65; give at most 64", { prompt: "a", topLogprobs: 65 }],
    ["sampling.temperature is 100.1; give 0 to 100", sampling({ temperature: 100.1 })],
    ["sampling.temperature is -1; give 0 to 100", sampling({ temperature: -1 })],
    ["sampling.temperature is NaN; give 0 to 100", sampling({ temperature: Number.NaN })],
    ["sampling.top_p is 0; give above 0 and at most 1", sampling({ topP: 0 })],
    ["sampling.top_p is 1.01; give above 0 and at most 1", sampling({ topP: 1.01 })],
    ["sampling.min_p is -0.1; give 0 to 1", sampling({ minP: -0.1 })],
    ["sampling.repeat_penalty is 0; give above 0 and at most 10", sampling({ repeatPenalty: 0 })],
    ["sampling.repeat_penalty is 11; give above 0 and at most 10", sampling({ repeatPenalty: 11 })],
  ])("is refused: %s", async (sentence, asked) => {
    const error = await read(grpcClient(shared).generate(asked)).catch(ConnectError.from);
    expect(error).toMatchObject({ code: Code.InvalidArgument });
    expect((error as ConnectError).rawMessage).toContain(sentence);
  });

  test("reaches the batcher with defaults filled in and every field in its place", async () => {
    const seen: GenerationRequest[] = [];
    const batcher = {
      generate(asked: GenerationRequest) {
        seen.push(asked);
        throw new ThermoclineError("UNAVAILABLE", "enough seen");
      },
    };
    const server = await fresh({}, { batcher });
    const client = grpcClient(server);
    const headers = { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" };
    await expect(read(client.generate({ prompt: "ab" }))).rejects.toThrow("enough seen");
    await expect(
      read(
        client.generate(
          {
            promptTokens: [9],
            maxTokens: 7,
            sampling: {
              temperature: 2,
              topK: 3,
              topP: 0.5,
              minP: 0.25,
              repeatPenalty: 4,
              seed: 2n ** 64n - 1n,
            },
            stop: ["x"],
            topLogprobs: 5,
            logprobs: true,
            layerSummary: true,
            ignoreEos: true,
          },
          { headers },
        ),
      ),
    ).rejects.toMatchObject({ code: Code.Unavailable });
    const [plain, full] = seen;
    expect(plain).toMatchObject({
      promptTokens: [0, 4, 5],
      maxTokens: null,
      sampling: { temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1, seed: null },
      stop: [],
      topLogprobs: 0,
      logprobs: false,
      layerSummary: false,
      ignoreEos: false,
    });
    expect(full).toMatchObject({
      promptTokens: [9],
      maxTokens: 7,
      sampling: { temperature: 2, topK: 3, topP: 0.5, minP: 0.25, repeatPenalty: 4, seed: 2n ** 64n - 1n },
      stop: ["x"],
      topLogprobs: 5,
      logprobs: true,
      layerSummary: true,
      ignoreEos: true,
    });
    expect(plain && trace.getSpanContext(plain.traceContext)).toBeUndefined();
    expect(full && trace.getSpanContext(full.traceContext)).toMatchObject({
      traceId: "0af7651916cd43dd8448eb211c80319c",
      spanId: "b7ad6b7169203331",
      traceFlags: 1,
    });
  });

  test("gets log-probabilities with the text of the candidates", async () => {
    const stream = grpcClient(shared).generate({
      prompt: "a",
      maxTokens: 1,
      ignoreEos: true,
      logprobs: true,
      topLogprobs: 2,
    });
    for await (const { event } of stream) {
      if (event.case !== "token") continue;
      const { id, text, logprob, top } = event.value;
      expect(logprob).toBeLessThan(0);
      expect(top.map((one) => one.id)[0]).toBe(id);
      expect(top[0]?.text).toBe(text);
      expect(top).toHaveLength(2);
    }
  });
});

test("the placement counts each layer's neurons by executor", async () => {
  const placement = await grpcClient(shared).getPlacement({});
  const memory = { weightBytes: 1000n, kvCacheBytes: 200n, scratchBytes: 30n };
  expect(placement).toEqual(
    create(GetPlacementResponseSchema, {
      policy: "in-order",
      executors: [
        {
          name: "gpu-executor",
          kind: ExecutorKind.GPU,
          device: "host",
          ...memory,
          budgetBytes: 4096n,
          threads: 1,
        },
        {
          name: "cpu-executor-0",
          kind: ExecutorKind.CPU,
          device: "cpu",
          ...memory,
          budgetBytes: 0n,
          threads: 2,
        },
      ],
      layers: [
        { layer: 0, attentionExecutor: 0, neurons: [3, 2] },
        { layer: 1, attentionExecutor: 1, neurons: [0, 5] },
      ],
    }),
  );
});

test.each(["profile", "file"] as const)("its policy is said: %s", async (policy) => {
  const server = await fresh({}, { policy });
  expect(await grpcClient(server).getPlacement({})).toMatchObject({ policy });
});

test("before the first load there is no placement", async () => {
  const server = await fresh({}, { group: { placement: null } });
  await expect(grpcClient(server).getPlacement({})).rejects.toMatchObject({
    code: Code.Unavailable,
    rawMessage: "the model is still loading; try again in a moment",
  });
});

describe("while a step is at work", () => {
  /** A server whose first step waits, and a way to see its only slot free again. */
  async function held() {
    const server = await fresh({ slots: 1 });
    server.runner.holdFrom = 1;
    const slotIsFree = async () => {
      await until(() => server.signals[0]?.aborted === true, "the end arrived");
      server.runner.release();
      const { tokens } = await read(
        grpcClient(server).generate({ promptTokens: [9], maxTokens: 2, ignoreEos: true }),
      );
      expect(tokens).toEqual(loneRun(request({ promptTokens: [9], maxTokens: 2 }), 2000).tokens);
      expect(server.runner.steps.length).toBe(3);
    };
    return { server, slotIsFree };
  }

  test("a deadline ends the request, with its length in the sentence", async () => {
    const { server, slotIsFree } = await held();
    // By hand: clients watch deadlines themselves and would not show the server's answer.
    const message = Buffer.from('{"prompt":"abc"}');
    const prefix = Buffer.alloc(5);
    prefix.writeUInt32BE(message.length, 1);
    const response = await fetch(`${server.url}/thermocline.v1.InferenceService/Generate`, {
      method: "POST",
      headers: { "content-type": "application/connect+json", "connect-timeout-ms": "40" },
      body: Buffer.concat([prefix, message]),
    });
    const end = JSON.parse((await response.text()).slice(5)) as unknown;
    expect(end).toMatchObject({
      error: {
        code: "deadline_exceeded",
        message: expect.stringMatching(
          /^the request's deadline of \d+ ms passed before it was done; ask for fewer/,
        ),
      },
    });
    await slotIsFree();
  });

  test.each(PROTOCOLS)("a client that goes away frees the slot: %s", async (_name, transport) => {
    const { server, slotIsFree } = await held();
    const control = new AbortController();
    const client = createClient(InferenceService, transport(server.url));
    const reading = read(client.generate({ prompt: "abc" }, { signal: control.signal }));
    await until(() => server.runner.steps.length === 1, "the step began");
    control.abort();
    await expect(reading).rejects.toMatchObject({ code: Code.Canceled });
    await slotIsFree();
  });

  test("a lost executor ends the stream with UNAVAILABLE and its sentence", async () => {
    const { server } = await held();
    server.runner.outcomes.push(
      new ThermoclineError("UNAVAILABLE", "the GPU executor (pid 7) was killed; try again"),
    );
    const reading = read(grpcClient(server).generate({ prompt: "abc" }));
    await until(() => server.runner.steps.length === 1, "the step began");
    server.runner.release();
    await expect(reading).rejects.toMatchObject({
      code: Code.Unavailable,
      rawMessage: "the GPU executor (pid 7) was killed; try again",
    });
  });
});

test("a defect is told without its details, and logged with them", async () => {
  const batcher = {
    generate(): never {
      throw new TypeError("secret of the house");
    },
  };
  const server = await fresh({}, { batcher });
  const error = await read(grpcClient(server).generate({ prompt: "a" })).catch(ConnectError.from);
  expect(error).toMatchObject({
    code: Code.Internal,
    rawMessage: "the server met a defect of its own; its log says more, please report it",
  });
  await until(() => server.log.length > 0, "it is logged");
  expect(server.log.join("")).toContain("secret of the house");
});

describe("load", () => {
  test("seventy streams at once on one connection all equal their lone runs", async () => {
    const server = await fresh({ slots: 8, maxLogitRows: 8 });
    const client = grpcClient(server);
    await Promise.all(
      Array.from({ length: 70 }, async (_, index) => {
        const promptTokens = [4 + (index % 28), index % 32, 7];
        const { tokens } = await read(client.generate({ promptTokens, maxTokens: 10, ignoreEos: true }));
        expect(tokens).toEqual(loneRun(request({ promptTokens, maxTokens: 10 }), 2000).tokens);
      }),
    );
  });

  test("big prompts at once on one connection", async () => {
    const server = await fresh({ contextLength: 70_000, maxRows: 4096 });
    const client = grpcClient(server);
    const sizes = await Promise.all(
      Array.from({ length: 10 }, async () => {
        const { summary } = await read(client.generate({ prompt: "a".repeat(60_000), maxTokens: 1 }));
        return summary.promptTokens;
      }),
    );
    expect(sizes).toEqual(Array.from({ length: 10 }, () => 60_001));
  });

  test("a message above 4 MiB is refused with both numbers", async () => {
    await expect(grpcClient(shared).tokenize({ text: "a".repeat(4_200_000) })).rejects.toMatchObject({
      code: Code.ResourceExhausted,
      rawMessage: expect.stringMatching(/4200005.*4194304/),
    });
  });

  test("the queue's refusal reaches the client", async () => {
    const server = await fresh({ slots: 1 });
    server.runner.holdFrom = 1;
    const client = grpcClient(server);
    const control = new AbortController();
    setMaxListeners(66, control.signal);
    const all = Array.from({ length: 66 }, () =>
      read(client.generate({ prompt: "a", maxTokens: 1 }, { signal: control.signal })).catch(
        ConnectError.from,
      ),
    );
    const refused = await Promise.race(all);
    expect(refused).toMatchObject({ code: Code.ResourceExhausted });
    control.abort();
    await Promise.all(all);
  });
});
