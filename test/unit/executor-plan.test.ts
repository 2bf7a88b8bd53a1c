import { clone, fromBinary, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { loadRequest } from "../../coordinator/executors/load-request.js";
import { loadOrder } from "../../cpu-executor/plan.js";
import { type LoadRequest, LoadRequestSchema } from "../../proto/gen/thermocline/v1/executor_pb.js";
import { fakePlan } from "../support/fake-executor.js";

const ARENA = { name: "arena-1", epoch: 2n ** 63n + 5n };

test("a plan comes out of its message as it went in", () => {
  for (const plan of [fakePlan(0), fakePlan(1)]) {
    const bytes = toBinary(LoadRequestSchema, loadRequest(plan, ARENA));
    const order = loadOrder(fromBinary(LoadRequestSchema, bytes), plan.executor === 0 ? "cpu" : "gpu");
    expect(order.plan).toEqual({ ...plan, shape: { ...plan.shape } });
    expect(order.arena).toEqual(ARENA);
    expect(order.digest).toMatch(/^[0-9a-f]{64}$/);
  }
});

test("the digest says whether the memory's contents are the same", () => {
  const digest = (plan = fakePlan(), arena = ARENA) => loadOrder(loadRequest(plan, arena), "cpu").digest;
  const base = digest();
  expect(digest(fakePlan(), { name: "arena-2", epoch: 1n })).toBe(base);
  const others = [
    { ...fakePlan(), modelPath: "/models/other.gguf" },
    { ...fakePlan(), modelBytes: 5 },
    { ...fakePlan(), slots: 3 },
    { ...fakePlan(), contextLength: 65 },
    { ...fakePlan(), maxRows: 17 },
    { ...fakePlan(), shape: { ...fakePlan().shape, activation: "silu" as const } },
    { ...fakePlan(), shape: { ...fakePlan().shape, reluThreshold: 0 } },
    { ...fakePlan(), shape: { ...fakePlan().shape, norm: "layer" as const } },
    { ...fakePlan(), shape: { ...fakePlan().shape, ropePairs: "halves" as const } },
    { ...fakePlan(), tensors: fakePlan().tensors.slice(1) },
    { ...fakePlan(), schedule: { ...fakePlan().schedule, head: 0 } },
  ].map((plan) => digest(plan));
  expect(new Set([base, ...others]).size).toBe(others.length + 1);
});

const DEFECTS: [string, (request: LoadRequest) => void, RegExp][] = [
  ["no shape", (r) => (r.shape = undefined), /shape is missing/],
  ["no schedule", (r) => (r.schedule = undefined), /schedule is missing/],
  ["no path", (r) => (r.modelPath = ""), /model_path/],
  ["no arena", (r) => (r.arenaName = ""), /arena_name/],
  ["a short digest", (r) => (r.planDigest = Uint8Array.of(1)), /plan_digest has 1 bytes/],
  ["a stranger's place", (r) => (r.executor = 2), /executor is 2/],
  ["another kind's place", (r) => (r.executor = 1), /takes this cpu executor for a gpu executor/],
  ["no slots", (r) => (r.slots = 0), /slots is 0/],
  ["no context", (r) => (r.contextLength = 0), /context_length is 0/],
  ["no rows", (r) => (r.maxRows = 0), /max_rows is 0/],
  ["no activation", (r) => Object.assign(r.shape ?? {}, { activation: 0 }), /shape\.activation is 0/],
  ["no norm", (r) => Object.assign(r.shape ?? {}, { norm: 0 }), /shape\.norm is 0/],
  ["no pairs", (r) => Object.assign(r.shape ?? {}, { ropePairs: 0 }), /shape\.rope_pairs is 0/],
  [
    "an unknown type",
    (r) => Object.assign(r.tensors[1] ?? {}, { type: 99 }),
    /tensors\[1\]\.type .*gate.* 99/,
  ],
  ["an endless file", (r) => (r.modelBytes = 2n ** 60n), /model_bytes/],
  ["a layer too few", (r) => r.schedule?.layers.pop(), /schedule\.layers has 1 entries.*2 layers/],
  [
    "a neuron too few",
    (r) => Object.assign(r.schedule?.layers[1] ?? {}, { neuronOwner: Uint8Array.of(0, 1) }),
    /schedule\.layers\[1\]\.neuron_owner has 2 bytes for 3 neurons/,
  ],
  [
    "a neuron of nobody",
    (r) => Object.assign(r.schedule?.layers[0] ?? {}, { neuronOwner: Uint8Array.of(0, 2, 0) }),
    /schedule\.layers\[0\]\.neuron_owner\[1\] is 2/,
  ],
  ["a head of nobody", (r) => Object.assign(r.schedule ?? {}, { head: 9 }), /schedule\.head is 9/],
];

test.each(DEFECTS)("refuses %s and says where", (_, spoil, message) => {
  const request = clone(LoadRequestSchema, loadRequest(fakePlan(), ARENA));
  spoil(request);
  expect(() => loadOrder(request, "cpu")).toThrow(message);
  expect(() => loadOrder(request, "cpu")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
});
