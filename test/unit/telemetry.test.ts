/** Telemetry against a real OTLP/gRPC receiver: the trace reads like the schedule, and metrics add up. */
import { type AddressInfo, createServer, type Socket } from "node:net";
import { type Context, ROOT_CONTEXT, TraceFlags, trace } from "@opentelemetry/api";
import { pino } from "pino";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StepResult } from "../../coordinator/schedule/step.js";
import { monotonicNs } from "../../coordinator/telemetry/clock.js";
import type { RequestObserver, StepShare } from "../../coordinator/telemetry/observer.js";
import { createTelemetry, type Telemetry } from "../../coordinator/telemetry/telemetry.js";
import type { ExecutorKind, Phase } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { OtlpReceiver, type ReceivedSpan } from "../support/otlp-receiver.js";
import { packTimings, type TimingRecord } from "../support/timings.js";

const LAYERS = 3;
const GPU = 0;
const CPU_A = 1;
const CPU_B = 2;
const KINDS: ExecutorKind[] = ["gpu", "cpu", "cpu"];
const GPU_SERVICE = "thermocline-gpu-executor";
const CPU_SERVICES = ["thermocline-cpu-executor-0", "thermocline-cpu-executor-1"];

let receiver: OtlpReceiver;
const started: Telemetry[] = [];

beforeEach(async () => {
  receiver = await OtlpReceiver.start();
});

afterEach(async () => {
  for (const telemetry of started.splice(0)) await telemetry.shutdown();
  receiver.close();
});

async function start(
  traceRatio = 1,
  endpoint: string | null = receiver.endpoint,
  logged: (line: string) => void = () => undefined,
): Promise<Telemetry> {
  const telemetry = await createTelemetry({
    otlpEndpoint: endpoint,
    traceRatio,
    model: "tiny",
    executors: () => KINDS,
    log: pino({}, { write: logged }),
  });
  started.push(telemetry);
  return telemetry;
}

/** Sends what there is and ends. */
async function stop(telemetry: Telemetry): Promise<void> {
  started.splice(started.indexOf(telemetry), 1);
  await telemetry.shutdown();
}

/**
 * A step of three executors, 1 ms from its start: the GPU runs attention, the predictor and the hot neurons and
 * merges, two CPUs run cold neurons. Each CPU begins to wait for a layer when it is done with the one before.
 */
function makeStep(step: number, startNs: number, rows: number): StepResult {
  const us = (value: number) => startNs + value * 1000;
  const records: TimingRecord[] = [];
  const add = (
    executor: number,
    layer: number,
    phase: Phase,
    from: number,
    to: number,
    active = 0,
    placed = 0,
  ) =>
    records.push({
      step,
      executor,
      layer,
      phase,
      startNs: us(from),
      endNs: us(to),
      rows,
      active,
      placed,
      bytes: active * 100,
    });
  add(GPU, -1, "embed", 10, 20);
  let cpuFreeAt = 5;
  for (let layer = 0; layer < LAYERS; layer++) {
    const at = 20 + layer * 300;
    add(GPU, layer, "attention", at, at + 100);
    add(GPU, layer, "predict", at + 100, at + 120);
    add(GPU, layer, "hot", at + 120, at + 180, 40 * rows, 64);
    for (const cpu of [CPU_A, CPU_B]) {
      add(cpu, layer, "wait", cpuFreeAt, at + 121);
      add(cpu, layer, "cold", at + 121, at + 250, 3 * rows, 32);
    }
    cpuFreeAt = at + 250;
    add(GPU, layer, "wait", at + 180, at + 252);
    add(GPU, layer, "merge", at + 252, at + 290);
  }
  add(GPU, -1, "head", 20 + LAYERS * 300, 980);
  return { step, logits: [], candidates: [], startNs, endNs: us(1000), timings: packTimings(records) };
}

const SPANS_OF_STEP = 1 + 2 + LAYERS * 10;

function share(request: RequestObserver, stage: "prefill" | "decode", rows = 1): StepShare {
  return { request, stage, rows };
}

/** A request through one prefill step and some decode steps, ended by its token limit. */
async function generate(
  telemetry: Telemetry,
  parent: Context,
  decodeSteps: number,
): Promise<RequestObserver> {
  const { observer } = telemetry;
  const request = observer.request(parent, 5);
  request.admitted();
  let result = makeStep(1, monotonicNs(), 5);
  observer.step(result, [share(request, "prefill", 5)]);
  request.firstToken();
  for (let step = 2; step < 2 + decodeSteps; step++) {
    result = makeStep(step, result.endNs, 1);
    observer.step(result, [share(request, "decode")]);
  }
  await until(result.endNs);
  request.finished("max-tokens", 5, decodeSteps + 1);
  return request;
}

/** Steps made by hand end in the future, and a request ends when it is told. */
async function until(ns: number): Promise<void> {
  while (monotonicNs() < ns) await new Promise((resolve) => setTimeout(resolve, 1));
}

function only<T>(values: readonly T[]): T {
  expect(values).toHaveLength(1);
  return values[0] as T;
}

function named(name: string): ReceivedSpan[] {
  return receiver.spans.filter((span) => span.name === name);
}

function durationUs(span: ReceivedSpan): number {
  return Number(span.endNs - span.startNs) / 1000;
}

function expectNesting(): void {
  const spans = new Map(receiver.spans.map((span) => [span.spanId, span]));
  for (const span of receiver.spans) {
    expect(span.endNs >= span.startNs, span.name).toBe(true);
    const parent = spans.get(span.parentSpanId);
    if (parent === undefined) {
      expect(span.name).toBe("generate");
      continue;
    }
    expect(parent.traceId).toBe(span.traceId);
    expect(
      span.startNs >= parent.startNs && span.endNs <= parent.endNs,
      `${span.name} in ${parent.name}`,
    ).toBe(true);
  }
}

describe("a sampled request", () => {
  it("becomes a trace of every layer of its first steps, each span inside its parent", async () => {
    const telemetry = await start();
    const before = BigInt(Date.now() - 1) * 1_000_000n;
    const request = await generate(telemetry, ROOT_CONTEXT, 1);
    await stop(telemetry);
    const after = BigInt(Date.now() + 1) * 1_000_000n;

    expect(receiver.spans).toHaveLength(3 + 2 * SPANS_OF_STEP);
    expectNesting();
    const root = only(named("generate"));
    expect(root).toMatchObject({ service: "thermocline-coordinator", kind: 2, traceId: request.traceId });
    expect(root.startNs > before && root.endNs < after).toBe(true);
    expect(receiver.childrenOf(root).map(({ name }) => name)).toEqual(["prefill", "decode"]);
    for (const stage of receiver.childrenOf(root)) {
      const step = only(receiver.childrenOf(stage));
      expect(step.name).toBe("step");
      expect(receiver.childrenOf(step).map(({ name }) => name)).toEqual([
        "embed",
        "layer 0",
        "layer 1",
        "layer 2",
        "head",
      ]);
      for (const layer of receiver.childrenOf(step).filter(({ name }) => name.startsWith("layer"))) {
        const children = receiver.childrenOf(layer).map(({ name, service }) => `${service} ${name}`);
        expect(children.sort()).toEqual(
          [
            ...["attention", "predict", "hot", "wait", "merge"].map((phase) => `${GPU_SERVICE} ${phase}`),
            ...CPU_SERVICES.flatMap((service) => [`${service} cold`, `${service} wait`]),
          ].sort(),
        );
      }
    }
  });

  it("shows times as they were recorded, and sums that agree with the step's wall time", async () => {
    const telemetry = await start();
    await generate(telemetry, ROOT_CONTEXT, 1);
    await stop(telemetry);
    for (const step of named("step")) {
      expect(durationUs(step)).toBe(1000);
      const parts = receiver.childrenOf(step);
      const sum = parts.reduce((total, part) => total + durationUs(part), 0);
      // embed 10, three layers of 290, head 60.
      expect(sum).toBe(940);
      for (const [index, part] of parts.slice(1).entries()) {
        expect(part.startNs >= (parts[index]?.endNs ?? 0n)).toBe(true);
      }
      const layer = parts[1] as ReceivedSpan;
      const byPhase = (service: string, name: string) =>
        only(receiver.childrenOf(layer).filter((span) => span.service === service && span.name === name));
      expect(durationUs(byPhase(GPU_SERVICE, "attention"))).toBe(100);
      expect(durationUs(byPhase(GPU_SERVICE, "wait"))).toBe(72);
      // A CPU's wait for the layer is shown from the layer's start on.
      expect(durationUs(byPhase("thermocline-cpu-executor-1", "wait"))).toBe(121);
      expect(byPhase("thermocline-cpu-executor-1", "wait").startNs).toBe(layer.startNs);
    }
  });

  it("carries rows, neurons and bytes", async () => {
    const telemetry = await start();
    await generate(telemetry, ROOT_CONTEXT, 1);
    await stop(telemetry);
    const prefill = only(receiver.childrenOf(only(named("prefill"))));
    expect(prefill.attributes).toMatchObject({
      "thermocline.step": 1,
      "thermocline.stage": "prefill",
      "thermocline.rows": 5,
      "thermocline.request.rows": 5,
      "thermocline.requests": 1,
    });
    const layer = receiver.childrenOf(prefill)[2] as ReceivedSpan;
    expect(layer.attributes).toEqual({
      "thermocline.layer": 1,
      "thermocline.rows": 5,
      "thermocline.neurons.active": 5 * (40 + 3 + 3),
      "thermocline.bytes_touched": 5 * (40 + 3 + 3) * 100,
    });
    const hot = only(receiver.childrenOf(layer).filter(({ name }) => name === "hot"));
    expect(hot.attributes).toEqual({
      "thermocline.executor": "gpu-executor",
      "thermocline.layer": 1,
      "thermocline.rows": 5,
      "thermocline.neurons.active": 200,
      "thermocline.neurons.placed": 64,
      "thermocline.bytes_touched": 20_000,
    });
    expect(only(named("generate")).attributes).toEqual({
      "gen_ai.operation.name": "text_completion",
      "gen_ai.provider.name": "thermocline",
      "gen_ai.request.model": "tiny",
      "gen_ai.usage.input_tokens": 5,
      "gen_ai.usage.output_tokens": 2,
      "gen_ai.response.finish_reasons": ["max-tokens"],
    });
  });

  it("says how it failed", async () => {
    const telemetry = await start();
    const request = telemetry.observer.request(ROOT_CONTEXT, 5);
    request.finished(new ThermoclineError("UNAVAILABLE", "the GPU executor was killed"), 5, 0);
    await stop(telemetry);
    const root = only(receiver.spans);
    expect(root.status).toEqual({ code: 2, message: "the GPU executor was killed" });
    expect(root.attributes["error.type"]).toBe("UNAVAILABLE");
  });

  it("ignores a step that ends after it, and records of other steps", async () => {
    const telemetry = await start();
    const { observer } = telemetry;
    const request = observer.request(ROOT_CONTEXT, 5);
    const result = makeStep(1, monotonicNs(), 5);
    const late = makeStep(0, monotonicNs(), 5).timings;
    const timings = Float64Array.from([...late.subarray(0, 60), ...result.timings]);
    observer.step({ ...result, timings }, [share(request, "prefill", 5)]);
    await until(result.endNs);
    request.finished("stop", 5, 1);
    observer.step(makeStep(2, monotonicNs(), 1), [share(request, "decode")]);
    await stop(telemetry);
    expect(receiver.spans).toHaveLength(2 + SPANS_OF_STEP);
    expectNesting();
  });
});

describe("sampling", () => {
  const CALLER = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", isRemote: true };
  const from = (traceFlags: TraceFlags) => trace.setSpanContext(ROOT_CONTEXT, { ...CALLER, traceFlags });

  it("continues the caller's sampled trace, whatever the ratio", async () => {
    const telemetry = await start(0);
    const request = telemetry.observer.request(from(TraceFlags.SAMPLED), 1);
    expect(request.traceId).toBe(CALLER.traceId);
    request.finished("stop", 1, 1);
    await stop(telemetry);
    expect(only(receiver.spans)).toMatchObject({ traceId: CALLER.traceId, parentSpanId: CALLER.spanId });
  });

  it("leaves alone what the caller did not sample, whatever the ratio", async () => {
    const telemetry = await start(1);
    const request = await generate(telemetry, from(TraceFlags.NONE), 1);
    expect(request.traceId).toBe("");
    await stop(telemetry);
    expect(receiver.spans).toEqual([]);
    expect(receiver.metric("thermocline.phase.duration")).toBeDefined();
  });

  it("takes its share of requests without a caller's decision", async () => {
    const telemetry = await start(0.25);
    const count = 1000;
    let sampled = 0;
    for (let request = 0; request < count; request++) {
      if (telemetry.observer.request(ROOT_CONTEXT, 1).traceId !== "") sampled++;
    }
    // Trace ids are random: six standard deviations of a binomial distribution.
    expect(Math.abs(sampled - count * 0.25)).toBeLessThan(6 * Math.sqrt(count * 0.25 * 0.75));
  });
});

describe("a batch", () => {
  it("puts a shared step's detail below one request and links to it from the others", async () => {
    const telemetry = await start();
    const { observer } = telemetry;
    const [a, b, c] = [1, 2, 3].map(() => observer.request(ROOT_CONTEXT, 2)) as [
      RequestObserver,
      RequestObserver,
      RequestObserver,
    ];
    const result = makeStep(9, monotonicNs(), 5);
    observer.step(result, [share(a, "prefill", 2), share(b, "prefill", 2), share(c, "decode")]);
    await until(result.endNs);
    for (const request of [a, b, c]) request.finished("stop", 2, 1);
    await stop(telemetry);
    expect(receiver.spans).toHaveLength(3 * 2 + SPANS_OF_STEP + 2);
    expectNesting();
    const steps = named("step");
    const main = only(steps.filter((step) => receiver.childrenOf(step).length > 0));
    expect(main.traceId).toBe(a.traceId);
    for (const other of steps.filter((step) => step !== main)) {
      expect(other.links).toEqual([{ traceId: main.traceId, spanId: main.spanId }]);
      // Each trace has one relation between the clocks, and two of them may differ by a millisecond.
      expect(other.endNs - other.startNs).toBe(main.endNs - main.startNs);
      expect(Math.abs(Number(other.startNs - main.startNs))).toBeLessThanOrEqual(1e6);
    }
    expect(steps.map((step) => step.attributes["thermocline.request.rows"]).sort()).toEqual([1, 2, 2]);
    expect(steps.every((step) => step.attributes["thermocline.rows"] === 5)).toBe(true);
  });

  it("gives the detail to a request for which the step is the first of its stage", async () => {
    const telemetry = await start();
    const { observer } = telemetry;
    const old = observer.request(ROOT_CONTEXT, 2);
    // More steps than the budget has detail for.
    for (let step = 0; step < 30; step++)
      observer.step(makeStep(step, monotonicNs(), 1), [share(old, "decode")]);
    const young = observer.request(ROOT_CONTEXT, 2);
    const result = makeStep(99, monotonicNs(), 3);
    observer.step(result, [share(old, "decode"), share(young, "prefill", 2)]);
    await until(result.endNs);
    for (const request of [old, young]) request.finished("stop", 2, 1);
    await stop(telemetry);
    const shared = named("step").filter((step) => step.attributes["thermocline.step"] === 99);
    const detailed = only(shared.filter((step) => receiver.childrenOf(step).length > 0));
    expect(detailed.traceId).toBe(young.traceId);
    expectNesting();
  });
});

describe("the budget", () => {
  it("limits detail, and the stage says how many of its steps have it", async () => {
    const telemetry = await start();
    await generate(telemetry, ROOT_CONTEXT, 200);
    await stop(telemetry);
    const decode = only(named("decode"));
    expect(decode.attributes["thermocline.steps"]).toBe(200);
    const detailed = Number(decode.attributes["thermocline.steps.detailed"]);
    expect(detailed).toBe(receiver.childrenOf(decode).length);
    expect(detailed).toBeGreaterThanOrEqual(1);
    expect(detailed).toBeLessThan(100);
  });
});

describe("metrics", () => {
  it("count every record of every step, sampled or not", async () => {
    const telemetry = await start(0);
    await generate(telemetry, ROOT_CONTEXT, 49);
    await stop(telemetry);
    const durations = receiver.metric("thermocline.phase.duration");
    expect(durations).toMatchObject({
      service: "thermocline-coordinator",
      unit: "s",
      kind: "exponential histogram",
    });
    // embed, head; a layer's five phases on the GPU, two on each CPU.
    expect(durations?.points).toHaveLength(2 + LAYERS * 9);
    for (const point of durations?.points ?? []) {
      expect(point.count).toBe(50);
      expect(point.bucketCounts.reduce((sum, count) => sum + count, 0)).toBe(50);
    }
    const hot = only(
      durations?.points.filter(
        ({ attributes }) =>
          attributes["thermocline.phase"] === "hot" && attributes["thermocline.layer"] === 2,
      ) ?? [],
    );
    expect(hot.attributes).toEqual({
      "thermocline.executor": "gpu-executor",
      "thermocline.layer": 2,
      "thermocline.phase": "hot",
    });
    expect(hot.sum).toBeCloseTo(50 * 60e-6, 9);
    expect(hot.min).toBeCloseTo(60e-6, 9);
    // All of 60 us: one bucket, whose bounds hold it.
    expect(hot.bucketCounts).toEqual([50]);
    const base = 2 ** (2 ** -(hot.scale ?? 0));
    expect(base ** (hot.offset ?? 0)).toBeLessThan(60e-6);
    expect(base ** ((hot.offset ?? 0) + 1)).toBeGreaterThanOrEqual(60e-6);

    const active = receiver.metric("thermocline.phase.neurons.active");
    // 5 rows in the first step, then 49 of one row.
    expect(active?.points.reduce((sum, { value }) => sum + (value ?? 0), 0)).toBe(54 * LAYERS * (40 + 3 + 3));
    const bytes = receiver.metric("thermocline.phase.bytes_touched");
    expect(bytes?.points.reduce((sum, { value }) => sum + (value ?? 0), 0)).toBe(
      54 * LAYERS * (40 + 3 + 3) * 100,
    );
  });

  it("tell of requests and steps", async () => {
    const telemetry = await start(0);
    await generate(telemetry, ROOT_CONTEXT, 3);
    telemetry.observer.request(ROOT_CONTEXT, 1).finished(new ThermoclineError("CANCELLED", "gone"), 1, 0);
    telemetry.observer.request(ROOT_CONTEXT, 1);
    await stop(telemetry);
    const points = (name: string) => receiver.metric(name)?.points ?? [];
    expect(only(points("thermocline.request.active")).value).toBe(1);
    expect(only(points("thermocline.request.queue_time")).count).toBe(1);
    expect(only(points("gen_ai.server.time_to_first_token")).count).toBe(1);
    expect(only(points("gen_ai.server.time_per_output_token")).count).toBe(1);
    expect(
      points("gen_ai.server.request.duration").map(({ attributes, count }) => [
        attributes["error.type"],
        count,
      ]),
    ).toEqual([
      [undefined, 1],
      ["CANCELLED", 1],
    ]);
    const tokens = points("thermocline.request.tokens");
    expect(tokens.map(({ attributes, value }) => [attributes["gen_ai.token.type"], value])).toEqual([
      ["input", 6],
      ["output", 4],
    ]);
    const steps = points("thermocline.step.duration");
    expect(steps.map(({ attributes, count }) => [attributes["thermocline.stage"], count])).toEqual([
      ["prefill", 1],
      ["decode", 3],
    ]);
    expect(points("thermocline.step.rows").map(({ sum }) => sum)).toEqual([5, 3]);
  });
});

describe("without a receiver", () => {
  it("telemetry that is off observes nothing and ends at once", async () => {
    const telemetry = await start(1, null);
    expect((await generate(telemetry, ROOT_CONTEXT, 1)).traceId).toBe("");
    await stop(telemetry);
    expect(receiver.spans).toEqual([]);
  });

  it.each(["refuses connections", "takes connections and never answers"])(
    "ends, and says what was lost, when the receiver %s",
    async (what) => {
      const sockets: Socket[] = [];
      const silent = createServer((socket) => void sockets.push(socket.on("error", () => undefined)));
      await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
      const { port } = silent.address() as AddressInfo;
      const end = async () => {
        for (const socket of sockets) socket.destroy();
        await new Promise((resolve) => silent.close(resolve));
      };
      try {
        if (what === "refuses connections") await end();
        const lines: string[] = [];
        const telemetry = await start(1, `http://127.0.0.1:${port}`, (line) => void lines.push(line));
        await generate(telemetry, ROOT_CONTEXT, 1);
        await stop(telemetry);
        expect(lines.join("")).toMatch(/lost/);
      } finally {
        if (silent.listening) await end();
      }
    },
  );
});
