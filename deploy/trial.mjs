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
/** Every trace has these spans, from these services. */
const SPANS = ["generate", "prefill", "decode", "step", "layer 0", "attention", "hot", "cold", "merge"];
const TRACED = ["thermocline-coordinator", "thermocline-gpu-executor", "thermocline-cpu-executor-0"];

checkClient();
const withJaeger = process.argv.includes("--jaeger");
const stack = await Stack.create(["compose.yaml", ...(withJaeger ? [] : ["compose.trial.yaml"])]);
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, () => void remove().then(() => process.exit(1)));
try {
  await trial();
} catch (error) {
  process.stderr.write(await stack.compose("logs", "--tail", "20"));
  throw error;
} finally {
  await remove();
}
await step("nothing is left", async () => assert.deepEqual(await stack.leftovers(), []));

async function remove() {
  await stack.compose("down", "--volumes", "--timeout", "5");
}

async function trial() {
  await remove();
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
  await until(`trace ${traceId} has ${SPANS.join(", ")} of ${TRACED.join(", ")}`, 30_000, async () => {
    const response = await fetch(`http://127.0.0.1:${stack.tracesPort}/api/traces/${traceId}`);
    const { data } = await response.json();
    const { spans = [], processes = {} } = data?.[0] ?? {};
    const names = new Set(spans.map(({ operationName }) => operationName));
    const services = new Set(spans.map(({ processID }) => processes[processID].serviceName));
    return SPANS.every((name) => names.has(name)) && TRACED.every((service) => services.has(service));
  });
}

/** The process dies by SIGKILL in the middle of an answer; Docker restarts its container, and the story is the same. */
async function killAndRecover(service, text) {
  const kill = await stack.prepareKill(service);
  let restarted = null;
  const { error, tokens } = await generate(stack.port, LONG_STORY, {
    onToken: (count) => {
      if (count === TOKENS_BEFORE_THE_KILL) restarted = kill();
    },
  });
  assert.notEqual(error, null, `${tokens} tokens came although ${service} was killed`);
  // A coordinator that dies can't say so.
  if (service !== "coordinator") assertUnavailable(error);
  await restarted;
  await storyComes(text);
}

/** `docker kill` is an order, so Docker does not restart the container until told to; requests wait that long. */
async function killForGood(service, text) {
  await stack.compose("kill", service);
  const { error } = await generate(stack.port, STORY, { deadlineS: 3 });
  assert.equal(error?.code, "deadline_exceeded");
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
