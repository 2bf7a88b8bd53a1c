/** An engine plan as the message that travels to its executor. */
import { createHash } from "node:crypto";
import { create, toBinary } from "@bufbuild/protobuf";
import type {
  Activation,
  EnginePlan,
  ExecutorKind,
  Norm,
  RopePairs,
  WeightType,
} from "../../native/index.js";
import {
  type LoadRequest,
  LoadRequestSchema,
  Activation as WireActivation,
  Norm as WireNorm,
  RopePairs as WireRopePairs,
  WeightType as WireWeightType,
} from "../../proto/gen/thermocline/v1/executor_pb.js";
import { ExecutorKind as WireKind } from "../../proto/gen/thermocline/v1/inference_pb.js";

const ACTIVATIONS: Record<Activation, WireActivation> = {
  relu: WireActivation.RELU,
  relu2: WireActivation.RELU2,
  silu: WireActivation.SILU,
};
const NORMS: Record<Norm, WireNorm> = { rms: WireNorm.RMS, layer: WireNorm.LAYER };
const ROPE_PAIRS: Record<RopePairs, WireRopePairs> = {
  adjacent: WireRopePairs.ADJACENT,
  halves: WireRopePairs.HALVES,
};
const WEIGHT_TYPES: Record<WeightType, WireWeightType> = {
  f32: WireWeightType.F32,
  f16: WireWeightType.F16,
  q4_0: WireWeightType.Q4_0,
  q8_0: WireWeightType.Q8_0,
  bf16: WireWeightType.BF16,
  q4_k: WireWeightType.Q4_K,
  q5_k: WireWeightType.Q5_K,
  q6_k: WireWeightType.Q6_K,
};
const KINDS: Record<ExecutorKind, WireKind> = { cpu: WireKind.CPU, gpu: WireKind.GPU };

/** The request, with its `plan_digest`, to serve the plan in an arena. */
export function loadRequest(plan: EnginePlan, arena: { name: string; epoch: bigint }): LoadRequest {
  const request = withoutArena(plan);
  request.planDigest = digestOf(request);
  request.arenaName = arena.name;
  request.arenaEpoch = arena.epoch;
  return request;
}

/**
 * SHA-256 of the request's own encoding without arena and digest, so that equal plans have equal digests whatever arena
 * they are to be served in.
 */
export function planDigest(plan: EnginePlan): Uint8Array {
  return digestOf(withoutArena(plan));
}

function digestOf(request: LoadRequest): Uint8Array {
  return createHash("sha256").update(toBinary(LoadRequestSchema, request)).digest();
}

function withoutArena(plan: EnginePlan): LoadRequest {
  return create(LoadRequestSchema, {
    modelPath: plan.modelPath,
    modelBytes: BigInt(plan.modelBytes),
    shape: {
      ...plan.shape,
      activation: ACTIVATIONS[plan.shape.activation],
      norm: NORMS[plan.shape.norm],
      ropePairs: ROPE_PAIRS[plan.shape.ropePairs],
    },
    tensors: plan.tensors.map((tensor) => ({
      ...tensor,
      type: WEIGHT_TYPES[tensor.type],
      offset: BigInt(tensor.offset),
    })),
    schedule: {
      executors: plan.schedule.executors.map((kind) => KINDS[kind]),
      layers: plan.schedule.layers,
      head: plan.schedule.head,
    },
    executor: plan.executor,
    slots: plan.slots,
    contextLength: plan.contextLength,
    maxRows: plan.maxRows,
  });
}
