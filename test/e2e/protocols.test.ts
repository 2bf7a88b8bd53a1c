/** One server with the bundled model on three processes, as clients of every kind see it. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { createClient } from "@connectrpc/connect";
import {
  createConnectTransport,
  createGrpcTransport,
  createGrpcWebTransport,
} from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { FinishReason, InferenceService } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { TestClient } from "./support/client.js";
import { inTime, PATIENCE_MS, ROOT, Sandbox, type Server, TEST_DEVICE } from "./support/sandbox.js";

const run = promisify(execFile);
const PROMPT = "Once upon a time";
const TEXT = ", there was a little girl named Lily. She loved to play with her toys";
const CALL = { deadlineMs: PATIENCE_MS, signal: null };

let sandbox: Sandbox;
let server: Server;
let client: TestClient;
beforeAll(async () => {
  sandbox = new Sandbox();
  server = await sandbox.serve("--gpu", "host", "--vram-budget", "4MiB");
  client = new TestClient(server.address);
});
afterAll(async () => {
  client?.close();
  await sandbox.remove();
});

/** Left out of what `npm run pack:gpu` makes. */
const BUF = join(ROOT, "node_modules/.bin/buf");

/** Runs buf's gRPC client, which learns the schema from the server. @returns the messages it printed */
async function bufCurl(method: string, request: object): Promise<Record<string, unknown>[]> {
  const { stdout } = await inTime(
    run(BUF, [
      ...["curl", "--protocol", "grpc", "--http2-prior-knowledge", "-d", JSON.stringify(request)],
      `${server.url}/${method}`,
    ]),
    method,
  );
  // Messages are printed as they come, several lines each.
  return JSON.parse(`[${stdout.trim().replace(/\}\s*\n\{/g, "},{")}]`) as Record<string, unknown>[];
}

async function post(method: string, request: object): Promise<unknown> {
  const response = await fetch(`${server.url}/thermocline.v1.InferenceService/${method}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return response.json();
}

describe("any client", () => {
  test.skipIf(!existsSync(BUF))("buf curl with no schema given", async () => {
    const messages = await bufCurl("thermocline.v1.InferenceService/Generate", {
      prompt: PROMPT,
      maxTokens: 16,
    });
    expect(messages).toHaveLength(17);
    const tokens = messages.slice(0, -1) as { token: { text: string } }[];
    expect(tokens.map(({ token }) => token.text).join("")).toBe(TEXT);
    expect(messages.at(-1)).toMatchObject({
      summary: { finishReason: "FINISH_REASON_MAX_TOKENS", promptTokens: 5, generatedTokens: 16 },
    });
    expect(await bufCurl("grpc.health.v1.Health/Check", {})).toEqual([{ status: "SERVING" }]);
    expect(
      await bufCurl("grpc.health.v1.Health/Check", { service: "thermocline.v1.InferenceService" }),
    ).toEqual([{ status: "SERVING" }]);
  });

  test("plain curl over HTTP/1.1", async () => {
    const { stdout } = await run("curl", [
      ...["--silent", "--show-error", "--http1.1", "--max-time", String(PATIENCE_MS / 1000)],
      ...["-H", "content-type: application/json", "-d", JSON.stringify({ text: PROMPT })],
      `${server.url}/thermocline.v1.InferenceService/Tokenize`,
    ]);
    expect(JSON.parse(stdout)).toEqual(await post("Tokenize", { text: PROMPT }));
  });

  test.each([
    ["gRPC", createGrpcTransport],
    [
      "gRPC-Web",
      (options: { baseUrl: string }) => createGrpcWebTransport({ ...options, httpVersion: "1.1" }),
    ],
    ["Connect", (options: { baseUrl: string }) => createConnectTransport({ ...options, httpVersion: "1.1" })],
  ])("%s streams", async (_, transport) => {
    const inference = createClient(InferenceService, transport({ baseUrl: server.url }));
    let text = "";
    const options = { timeoutMs: PATIENCE_MS };
    for await (const { event } of inference.generate({ prompt: PROMPT, maxTokens: 16 }, options)) {
      text += event.value?.text ?? "";
    }
    expect(text).toBe(TEXT);
  });

  test("the thermocline command", async () => {
    const generate = ["generate", "--server", server.address, "--prompt", PROMPT];
    const { code, stdout, stderr } = await sandbox.run(...generate, "--stop", " toys", " dog", "--layers");
    expect(stdout).toBe(`${PROMPT}, there was a little girl named Lily. She loved to play with her\n`);
    expect(stderr).toMatch(/^layer +attention/m);
    expect(stderr).toMatch(/, a stop string was met$/m);
    expect(code).toBe(0);
  });
});

describe("text", () => {
  test("a stop string ends it, and is not part of it", async () => {
    const { text, summary } = await client.start({ prompt: PROMPT, stop: ["Lily. She"] }).outcome;
    expect(text).toBe(", there was a little girl named ");
    expect(summary?.finishReason).toBe(FinishReason.STOP);
  });

  test("goes on until the context is full", async () => {
    const { summary, tokens } = await client.start({ prompt: PROMPT, ignoreEos: true }).outcome;
    expect(summary?.finishReason).toBe(FinishReason.CONTEXT_FULL);
    expect(tokens.length).toBe(summary?.generatedTokens);
    expect((summary?.promptTokens ?? 0) + tokens.length).toBe(512);
  });

  test("the same seed gives the same text, another one another, and the one drawn is told", async () => {
    const draw = async (seed: bigint | null) => {
      const sampling = { temperature: 1, topP: 0.95, ...(seed === null ? {} : { seed }) };
      const { text, summary } = await client.start({ prompt: PROMPT, maxTokens: 24, sampling }).outcome;
      return { text, seed: summary?.seed ?? 0n };
    };
    const drawn = await draw(null);
    expect(await draw(drawn.seed)).toEqual(drawn);
    expect(await draw(7n)).toEqual(await draw(7n));
    expect((await draw(7n)).text).not.toBe((await draw(8n)).text);
  });

  test("comes with log-probabilities on request, of which the greedy token's is the highest", async () => {
    const { tokens } = await client.start({ prompt: PROMPT, maxTokens: 5, logprobs: true, topLogprobs: 3 })
      .outcome;
    expect(tokens).toHaveLength(5);
    for (const { id, logprob, top } of tokens) {
      expect(top).toHaveLength(3);
      expect(top[0]).toMatchObject({ id, logprob });
      expect(logprob).toBeLessThan(0);
      const sum = top.reduce((total, candidate) => total + Math.exp(candidate.logprob), 0);
      expect(sum).toBeLessThanOrEqual(1 + 1e-6);
    }
  });

  test("a token prompt is used as it is", async () => {
    const { tokens } = await client.service.unary("tokenize", { text: PROMPT }, CALL);
    expect(await client.text({ promptTokens: tokens, maxTokens: 16 })).toBe(TEXT);
  });
});

describe("the model", () => {
  test("turns text into tokens and back", async () => {
    const texts = ["Once upon a time, there was a dog.", " two  spaces ", "naïve café, 日本, 🐶", "\n\t", ""];
    for (const text of texts) {
      const { tokens } = await client.service.unary("tokenize", { text }, CALL);
      expect(tokens[0]).toBe(1);
      expect((await client.service.unary("detokenize", { tokens }, CALL)).text).toBe(text);
      const bare = await client.service.unary("tokenize", { text, addSpecial: false }, CALL);
      expect(bare.tokens).toEqual(tokens.slice(1));
    }
  });

  test("is described", async () => {
    expect(await client.service.unary("getModel", {}, CALL)).toMatchObject({
      name: "Thermocline stories 3.5M (ReGLU)",
      architecture: "llama",
      layers: 5,
      embeddingLength: 192,
      feedForwardLength: 768,
      attentionHeads: 6,
      keyValueHeads: 2,
      vocabularySize: 4096,
      trainedContextLength: 512,
      contextLength: 512,
      slots: 4,
      activation: "relu",
      hasPredictor: false,
      parameters: 3_491_904n,
    });
  });

  test("says over JSON where its neurons are", async () => {
    const placement = (await post("GetPlacement", {})) as Record<string, unknown>;
    expect(placement).toMatchObject({
      policy: "profile",
      executors: [
        {
          name: "gpu-executor",
          kind: "EXECUTOR_KIND_GPU",
          device: TEST_DEVICE,
          budgetBytes: String(4 * 1024 ** 2),
        },
        { name: "cpu-executor-0", kind: "EXECUTOR_KIND_CPU", device: "cpu" },
      ],
    });
  });
});

describe("what cannot be answered is an error with a code and a sentence", () => {
  test.each<[string, object, string, RegExp]>([
    ["Generate", {}, "INVALID_ARGUMENT", /neither prompt nor prompt_tokens is given/],
    ["Generate", { prompt: "a", maxTokens: 0 }, "INVALID_ARGUMENT", /max_tokens is 0; give at least 1/],
    ["Generate", { promptTokens: [4096] }, "INVALID_ARGUMENT", /prompt_tokens\[0\] is 4096.*4096 tokens/],
    [
      "Generate",
      { promptTokens: new Array(512).fill(5) },
      "INVALID_ARGUMENT",
      /has 512 tokens.*context of 512/,
    ],
    [
      "Generate",
      { prompt: "a", sampling: { temperature: -1 } },
      "INVALID_ARGUMENT",
      /temperature is -1; give 0 to/,
    ],
    ["Generate", { prompt: "a", stop: [""] }, "INVALID_ARGUMENT", /stop\[0\] is empty/],
  ])("%s %j", async (_, request, code, message) => {
    expect((await client.start(request).outcome).error).toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  test("over JSON, too", async () => {
    expect(await post("Detokenize", { tokens: [4096] })).toEqual({
      code: "invalid_argument",
      message: expect.stringMatching(/^tokens\[0\] is 4096, and the vocabulary has 4096 tokens/),
    });
  });
});
