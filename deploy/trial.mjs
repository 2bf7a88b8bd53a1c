// Tries compose.yaml on a real engine: builds the image, starts the stack, calls Generate from outside, looks for the
// trace, kills every process of ours in turn and sees it come back, and takes everything away again.
//
//   node deploy/trial.mjs [--jaeger]     --jaeger uses Jaeger itself; else a small receiver of traces stands in for it
import assert from "node:assert/strict";
import { checkClient, generate } from "./trial/generate.mjs";
import { SERVICES, Stack, until } from "./trial/stack.mjs";

const STORY = { prompt: "Once upon a time", maxTokens: 32 };
/** Long enough to be killed in the middle. */
const LONG_STORY = { prompt: "Once upon a time", maxTokens: 400, ignoreEos: true };
const TOKENS_BEFORE_THE_KILL = 5;
/** Spans that every trace has, and the executors' that every step has. */
const SPANS = ["generate", "prefill", "decode", "step", "attention", "hot", "cold", "merge"];

checkClient();
const withJaeger = process.argv.includes("--jaeger");
const stack = await Stack.create(["compose.yaml", ...(withJaeger ? [] : ["compose.trial.yaml"])]);
try {
  await trial();
} catch (error) {
  await stack.compose("logs", "--tail", "40").catch(() => undefined);
  throw error;
} finally {
  await stack.compose("down", "--volumes", "--timeout", "5");
}
await step("nothing is left", async () => assert.deepEqual(await stack.leftovers(), []));

async function trial() {
  await step("build", () => stack.compose("build", "coordinator"));
  await step("start", () => stack.compose("up", "--detach"));
  await step("every service is healthy", () => healthy(SERVICES));
  const { text, summary } = await step("Generate from outside", tellStory);
  process.stdout.write(`  ${JSON.stringify(text)}\n`);
  await step("the trace has every span", () => traceIsComplete(summary.traceId));
  for (const service of SERVICES) {
    await step(`${service} killed in mid-stream, and back`, () => killAndRecover(service, text));
  }
  await step("gpu-executor killed for good, then started", () => killForGood("gpu-executor", text));
  await step("every service is healthy again", () => healthy(SERVICES));
  await step("stop: every process ends by itself", stopAll);
}

async function step(name, work) {
  const start = Date.now();
  process.stdout.write(`${name} ... `);
  try {
    const result = await work();
    process.stdout.write(`${((Date.now() - start) / 1000).toFixed(1)} s\n`);
    return result;
  } catch (error) {
    process.stdout.write("FAILED\n");
    throw error;
  }
}

async function healthy(services) {
  await until(`${services.join(", ")} are healthy`, 90_000, async () => {
    const states = await Promise.all(services.map((service) => stack.isHealthy(service)));
    return states.every(Boolean);
  });
}

async function tellStory() {
  const story = await generate(stack.port, STORY);
  assert.equal(story.error, null);
  assert.equal(story.tokens, STORY.maxTokens);
  assert.equal(story.summary.finishReason, "FINISH_REASON_MAX_TOKENS");
  return story;
}

async function traceIsComplete(traceId) {
  await until(`trace ${traceId} has the spans ${SPANS.join(", ")}`, 30_000, async () => {
    const response = await fetch(`http://127.0.0.1:${stack.tracesPort}/api/traces/${traceId}`);
    const { data } = await response.json();
    const spans = data?.[0]?.spans ?? [];
    const services = Object.values(data?.[0]?.processes ?? {}).map(({ serviceName }) => serviceName);
    return (
      SPANS.every((name) => spans.some(({ operationName }) => operationName === name)) &&
      ["coordinator", "gpu", "cpu"].every((part) => services.some((service) => service.includes(part)))
    );
  });
}

/** The process dies by SIGKILL in the middle of an answer; Docker restarts its container, and the story is the same. */
async function killAndRecover(service, text) {
  const kill = await stack.prepareKill(service);
  let restarted = null;
  const { error, tokens } = await generate(stack.port, LONG_STORY, (count) => {
    if (count === TOKENS_BEFORE_THE_KILL) restarted = kill();
  });
  assert.notEqual(error, null, `${tokens} tokens came although ${service} was killed`);
  // A coordinator that dies can't say so.
  if (service !== "coordinator") assertUnavailable(error);
  await restarted;
  await storyComes(text);
}

/** `docker kill` is an order, so Docker does not restart the container until told to. */
async function killForGood(service, text) {
  await stack.compose("kill", service);
  await until("Generate says UNAVAILABLE", 10_000, async () => {
    const { error } = await generate(stack.port, STORY);
    if (error !== null) assertUnavailable(error);
    return error !== null;
  });
  await stack.compose("start", service);
  await storyComes(text);
}

/** The same story as ever, once the stack has recovered. */
async function storyComes(text) {
  await until("Generate answers", 30_000, async () => {
    const story = await generate(stack.port, STORY);
    if (story.error === null) assert.equal(story.text, text);
    return story.error === null;
  });
}

function assertUnavailable({ code, message }) {
  assert.equal(code, "unavailable", message);
  assert.match(message, /executor/);
}

async function stopAll() {
  await stack.compose("stop");
  for (const service of SERVICES) {
    const { State } = await stack.inspect(service);
    assert.equal(State.ExitCode, 0, `${service} ended with ${State.ExitCode}`);
  }
}
