/** What a real OTLP/gRPC receiver gets from a server whose layers are computed by three processes. */
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { InferenceService } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { OtlpReceiver, type ReceivedSpan } from "../support/otlp-receiver.js";
import { splitPlacement } from "../support/split-placement.js";
import { writeTinyModel } from "../support/tiny-model.js";
import { FIRST_LETTER } from "../support/tiny-vocabulary.js";
import { PATIENCE_MS, Sandbox, type Server } from "./support/sandbox.js";

const LAYERS = 4;
const NEURONS = 256;
const PROMPT = Array.from({ length: 80 }, (_, place) => FIRST_LETTER + (place % 25));
const GENERATED = 6;
/** 80 rows in chunks of 64, see coordinator/stack.ts. */
const PREFILL_STEPS = 2;
const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const CALLER = "b7ad6b7169203331";

const COORDINATOR = "thermocline-coordinator";
const GPU = "thermocline-gpu-executor";
const CPU = "thermocline-cpu-executor-0";

let sandbox: Sandbox;
let receiver: OtlpReceiver;
let server: Server;
beforeAll(async () => {
  sandbox = new Sandbox();
  receiver = await OtlpReceiver.start();
  // With a predictor, so that every phase is there.
  const shape = { layers: LAYERS, embd: 128, heads: 4, headDim: 32, ff: NEURONS, predictorRank: 32 };
  const model = await writeTinyModel(join(sandbox.path, "m.gguf"), { seed: 6, contextLength: 128, ...shape });
  const split = splitPlacement(join(sandbox.path, "placement.json"), model);
  // A round would be a phase too, which only a slow machine would show.
  const fixed = [...split, "--re-placement", "off"];
  server = await sandbox.serve("--model", model.path, "--otlp-endpoint", receiver.endpoint, ...fixed);
  await generate({ traceparent: `00-${TRACE_ID}-${CALLER}-01` });
  await receiver.waitFor("the trace", () => receiver.spans.some(({ name }) => name === "generate"));
});
afterAll(async () => {
  await sandbox.remove();
  receiver?.close();
});

/** @returns the trace's id as the summary has it */
async function generate(headers: Record<string, string>): Promise<string | undefined> {
  const client = createClient(InferenceService, createGrpcTransport({ baseUrl: server.url }));
  const request = { promptTokens: PROMPT, maxTokens: GENERATED, ignoreEos: true };
  for await (const { event } of client.generate(request, { headers, timeoutMs: PATIENCE_MS })) {
    if (event.case === "summary") return event.value.traceId;
  }
  return undefined;
}

/** The only child of that name. */
function child(parent: ReceivedSpan, name: string): ReceivedSpan {
  const found = receiver.childrenOf(parent).filter((span) => span.name === name);
  const [only] = found;
  if (only === undefined || found.length > 1)
    throw new Error(`${parent.name} has ${found.length} children ${name}`);
  return only;
}

function root(): ReceivedSpan {
  const found = receiver.spans.find(({ name, traceId }) => name === "generate" && traceId === TRACE_ID);
  if (found === undefined) throw new Error("there is no such trace");
  return found;
}

/** Steps of a stage that have their layers below them. */
function stepsOf(stage: "prefill" | "decode"): ReceivedSpan[] {
  return receiver.childrenOf(child(root(), stage)).filter((step) => receiver.childrenOf(step).length > 0);
}

const lengthNs = ({ startNs, endNs }: ReceivedSpan) => Number(endNs - startNs);
const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

describe("a request's trace", () => {
  test("continues the caller's, and the summary names it", async () => {
    expect(root()).toMatchObject({
      parentSpanId: CALLER,
      service: COORDINATOR,
      attributes: {
        "gen_ai.usage.input_tokens": PROMPT.length,
        "gen_ai.usage.output_tokens": GENERATED,
        "gen_ai.response.finish_reasons": ["max-tokens"],
      },
    });
    expect(await generate({ traceparent: `00-${TRACE_ID}-${CALLER}-00` })).toBe("");
    expect(await generate({ traceparent: `00-${TRACE_ID.replace("0", "1")}-${CALLER}-01` })).toBe(
      TRACE_ID.replace("0", "1"),
    );
    expect(await generate({})).toMatch(/^[0-9a-f]{32}$/);
  });

  test("is generate > prefill and decode > steps, all of them counted, and all shown while the budget lasts", () => {
    expect(receiver.childrenOf(root()).map(({ name }) => name)).toEqual(["prefill", "decode"]);
    expect(child(root(), "prefill").attributes["thermocline.steps"]).toBe(PREFILL_STEPS);
    expect(child(root(), "decode").attributes["thermocline.steps"]).toBe(GENERATED - 1);
    for (const stage of ["prefill", "decode"] as const) {
      expect(stepsOf(stage).length).toBe(child(root(), stage).attributes["thermocline.steps.detailed"]);
      expect(stepsOf(stage).length).toBeGreaterThan(0);
    }
  });

  test("has every child inside its parent", () => {
    const byId = new Map(receiver.spans.map((span) => [span.spanId, span]));
    const children = receiver.spans.filter(({ parentSpanId }) => byId.has(parentSpanId));
    expect(children.length).toBeGreaterThan(50);
    for (const span of children) {
      const parent = byId.get(span.parentSpanId) ?? span;
      expect(span.traceId).toBe(parent.traceId);
      expect(span.startNs).toBeGreaterThanOrEqual(parent.startNs);
      expect(span.endNs).toBeLessThanOrEqual(parent.endNs);
      expect(span.endNs).toBeGreaterThanOrEqual(span.startNs);
    }
  });
});

describe.each(["prefill", "decode"] as const)("a sampled step of %s", (stage) => {
  const layersOf = (step: ReceivedSpan) =>
    receiver.childrenOf(step).filter(({ name }) => name.startsWith("layer "));

  test("has every layer, in order and none overlapping, within the step's wall time", () => {
    for (const step of stepsOf(stage)) {
      const layers = layersOf(step);
      expect(layers.map(({ name }) => name)).toEqual(["layer 0", "layer 1", "layer 2", "layer 3"]);
      for (const [index, layer] of layers.slice(1).entries()) {
        expect(layer.startNs).toBeGreaterThanOrEqual(layers[index]?.endNs ?? 0n);
      }
      const outside = receiver.childrenOf(step).filter(({ name }) => name === "embed" || name === "head");
      expect(outside.map(({ name }) => name)).toEqual(["embed", "head"]);
      const worked = sum(layers.map(lengthNs)) + sum(outside.map(lengthNs));
      expect(worked).toBeGreaterThan(0);
      expect(worked).toBeLessThanOrEqual(lengthNs(step));
    }
  });

  test("has every phase of every layer, from the process that spent the time", () => {
    for (const layer of stepsOf(stage).flatMap(layersOf)) {
      const spans = receiver.childrenOf(layer);
      const phases = (service: string) => [
        ...new Set(spans.filter((span) => span.service === service).map(({ name }) => name)),
      ];
      expect(layer.service).toBe(COORDINATOR);
      expect(phases(GPU)).toEqual(expect.arrayContaining(["attention", "predict", "hot", "wait", "merge"]));
      expect(phases(CPU)).toContain("cold");
      // One process does one thing at a time.
      for (const service of [GPU, CPU]) {
        const own = spans.filter((span) => span.service === service);
        expect(sum(own.map(lengthNs))).toBeLessThanOrEqual(lengthNs(layer));
        for (const [index, span] of own.slice(1).entries()) {
          expect(span.startNs).toBeGreaterThanOrEqual(own[index]?.endNs ?? 0n);
        }
      }
    }
  });

  test("says how many neurons were placed and fired, and what was read for them", () => {
    for (const layer of stepsOf(stage).flatMap(layersOf)) {
      const spans = receiver.childrenOf(layer);
      const [hot, cold] = ["hot", "cold"].map(
        (name) => spans.find((span) => span.name === name)?.attributes ?? {},
      );
      const number = (value: unknown) => (typeof value === "number" ? value : Number.NaN);
      expect(number(hot?.["thermocline.neurons.placed"]) + number(cold?.["thermocline.neurons.placed"])).toBe(
        NEURONS,
      );
      const rows = number(layer.attributes["thermocline.rows"]);
      const active = number(layer.attributes["thermocline.neurons.active"]);
      expect(active).toBeGreaterThan(0);
      expect(active).toBeLessThanOrEqual(rows * NEURONS);
      expect(number(layer.attributes["thermocline.bytes_touched"])).toBeGreaterThan(0);
    }
  });
});

test("phases are metered, too", async () => {
  // Metrics are sent now and then, and at the end.
  server.command.kill("SIGTERM");
  expect((await server.command.ended).code).toBe(0);
  const metric = receiver.metric("thermocline.phase.duration");
  const phases = new Set(metric?.points.map(({ attributes }) => attributes["thermocline.phase"]));
  expect([...phases].sort()).toEqual([
    "attention",
    "cold",
    "embed",
    "head",
    "hot",
    "merge",
    "predict",
    "wait",
  ]);
});
