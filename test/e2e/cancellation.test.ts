/** Requests that end before they are done: their slot is free at once, and nothing more is computed for them. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ExecutorClient } from "../../coordinator/executors/client.js";
import { parseAddress } from "../../proto/address.js";
import { writeTinyModel } from "../support/tiny-model.js";
import { FIRST_LETTER } from "../support/tiny-vocabulary.js";
import { type Call, TestClient } from "./support/client.js";
import { inTime, Sandbox } from "./support/sandbox.js";

const CONTEXT = 4096;
/** Rows of a prompt chunk, see coordinator/stack.ts. */
const CHUNK = 64;
const LONG_PROMPT = Array.from({ length: CONTEXT - 10 }, (_, place) => FIRST_LETTER + (place % 25));
/** Steps to read it. */
const PROMPT_STEPS = Math.ceil(LONG_PROMPT.length / CHUNK);
const SHORT_PROMPT = LONG_PROMPT.slice(0, 3);

let sandbox: Sandbox;
let address: string;
let client: TestClient;
let executor: ExecutorClient;
/** What the short request gives when nothing was before it. */
let expected: string;
beforeAll(async () => {
  sandbox = new Sandbox();
  // Slow enough that a prompt of this length can be interrupted, and it never ends by itself.
  const shape = { layers: 4, embd: 256, heads: 8, kvHeads: 2, headDim: 32, ff: 1024, contextLength: CONTEXT };
  const model = await writeTinyModel(join(sandbox.path, "slow.gguf"), { seed: 4, type: "f16", ...shape });
  const options = ["--gpu", "off", "--slots", "1", "--threads", "1"];
  ({ address } = await sandbox.serve("--model", model.path, ...options));
  client = new TestClient(address);
  const files = readdirSync(sandbox.path, { recursive: true, encoding: "utf8" });
  const socket = files.find((name) => name.endsWith(".sock")) ?? "";
  executor = new ExecutorClient(parseAddress(`unix:${join(sandbox.path, socket)}`, "socket"), "the executor");
  expected = await next();
});
afterAll(async () => {
  client?.close();
  executor?.close();
  await sandbox.remove();
});

/** Steps the executor has computed. */
async function steps(): Promise<number> {
  return Number((await executor.status(null)).steps);
}

/** The next request on the only slot. */
function next(): Promise<string> {
  return client.text({ promptTokens: SHORT_PROMPT, maxTokens: 4, ignoreEos: true });
}

/** Waits until the executor has computed so many more steps. */
async function untilSteps(count: number): Promise<void> {
  const end = count + (await steps());
  const poll = async () => {
    while ((await steps()) < end) await delay(1);
  };
  await inTime(poll(), `${count} more steps`);
}

/** Slow to read, and slow to answer; neither is done within the steps given. */
const READ = { request: { promptTokens: LONG_PROMPT, maxTokens: 5, ignoreEos: true }, steps: PROMPT_STEPS };
const ANSWER = {
  request: { promptTokens: SHORT_PROMPT, maxTokens: CONTEXT - 10, ignoreEos: true },
  steps: CONTEXT - 10,
};

describe.each([
  { stage: "its prompt is read", long: READ, reached: () => untilSteps(2) },
  { stage: "it is answered", long: ANSWER, reached: (call: Call) => call.tokens(2) },
])("a request that, while $stage,", ({ long, reached }) => {
  test("is cancelled", async () => {
    const before = await steps();
    const call = client.start(long.request);
    await reached(call);
    call.cancel();
    expect((await call.outcome).error).toMatchObject({ code: "CANCELLED" });
    expect(await next()).toBe(expected);
    expect(await steps()).toBeLessThan(before + long.steps);
  });

  test("loses its client's connection", async () => {
    const before = await steps();
    const other = new TestClient(address);
    const call = other.start(long.request);
    await reached(call);
    other.close();
    call.cancel();
    expect(await next()).toBe(expected);
    expect(await steps()).toBeLessThan(before + long.steps);
  });

  test("runs out of time", async () => {
    const before = await steps();
    const { error } = await client.start(long.request, 100).outcome;
    expect(error).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    expect(await next()).toBe(expected);
    expect(await steps()).toBeLessThan(before + long.steps);
  });
});

test("requests that wait for the slot can leave, and run out of time, without disturbing the one that has it", async () => {
  const call = client.start({ ...ANSWER.request, maxTokens: 200 });
  await call.tokens(1);
  const short = { promptTokens: SHORT_PROMPT, maxTokens: 1 };
  const left = client.start(short);
  left.cancel();
  const late = client.start(short, 20);
  const patient = next();
  expect((await left.outcome).error).toMatchObject({ code: "CANCELLED" });
  expect((await late.outcome).error).toMatchObject({ code: "DEADLINE_EXCEEDED" });
  const { error, text } = await call.outcome;
  expect(error).toBeNull();
  expect(text.startsWith(expected)).toBe(true);
  expect(await patient).toBe(expected);
});
