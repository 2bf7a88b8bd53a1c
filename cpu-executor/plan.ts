/** What a LoadRequest asks for, checked and in the engine's terms. */

import type {
  Activation,
  EnginePlan,
  ExecutorKind,
  ModelShape,
  Norm,
  RopePairs,
  Schedule,
  TensorRef,
  WeightType,
} from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import {
  type LoadRequest,
  type Tensor,
  Activation as WireActivation,
  Norm as WireNorm,
  RopePairs as WireRopePairs,
  type Schedule as WireSchedule,
  type ModelShape as WireShape,
  WeightType as WireWeightType,
} from "../proto/gen/thermocline/v1/executor_pb.js";
import { ExecutorKind as WireKind } from "../proto/gen/thermocline/v1/inference_pb.js";

/** Bytes of a SHA-256. */
const DIGEST_BYTES = 32;
/** A neuron's owner is one byte. */
const MAX_EXECUTORS = 256;

const ACTIVATIONS: ReadonlyMap<WireActivation, Activation> = new Map([
  [WireActivation.RELU, "relu"],
  [WireActivation.RELU2, "relu2"],
  [WireActivation.SILU, "silu"],
]);
const NORMS: ReadonlyMap<WireNorm, Norm> = new Map([
  [WireNorm.RMS, "rms"],
  [WireNorm.LAYER, "layer"],
]);
const ROPE_PAIRS: ReadonlyMap<WireRopePairs, RopePairs> = new Map([
  [WireRopePairs.ADJACENT, "adjacent"],
  [WireRopePairs.HALVES, "halves"],
]);
const WEIGHT_TYPES: ReadonlyMap<WireWeightType, WeightType> = new Map([
  [WireWeightType.F32, "f32"],
  [WireWeightType.F16, "f16"],
  [WireWeightType.Q4_0, "q4_0"],
  [WireWeightType.Q8_0, "q8_0"],
  [WireWeightType.BF16, "bf16"],
  [WireWeightType.Q4_K, "q4_k"],
  [WireWeightType.Q5_K, "q5_k"],
  [WireWeightType.Q6_K, "q6_k"],
]);
const KINDS: ReadonlyMap<WireKind, ExecutorKind> = new Map([
  [WireKind.CPU, "cpu"],
  [WireKind.GPU, "gpu"],
]);

/** A checked Load: what to hold, under which digest, and which arena to join. */
export interface LoadOrder {
  plan: EnginePlan;
  /** `plan_digest` in hexadecimal. */
  digest: string;
  arena: { name: string; epoch: bigint };
}

/**
 * Checks that the request does not contradict itself; whether it fits the file and the engine is the engine's to say.
 * @param kind what the executor that was asked is
 * @throws ThermoclineError INVALID_ARGUMENT, naming the field at fault
 */
export function loadOrder(request: LoadRequest, kind: ExecutorKind): LoadOrder {
  if (request.shape === undefined) throw invalid("shape is missing");
  if (request.schedule === undefined) throw invalid("schedule is missing");
  if (request.modelPath === "") throw invalid("model_path is empty");
  if (request.arenaName === "") throw invalid("arena_name is empty");
  const digest = toDigest(request.planDigest);
  const shape = toShape(request.shape);
  const schedule = toSchedule(request.schedule, shape);
  const own = schedule.executors[request.executor];
  if (own === undefined) {
    throw invalid(
      `executor is ${request.executor}, but the schedule has ${schedule.executors.length} executors`,
    );
  }
  if (own !== kind) throw invalid(`the schedule takes this ${kind} executor for a ${own} executor`);
  return {
    plan: {
      modelPath: request.modelPath,
      modelBytes: toNumber(request.modelBytes, "model_bytes"),
      shape,
      tensors: request.tensors.map(toTensor),
      schedule,
      executor: request.executor,
      slots: positive(request.slots, "slots"),
      contextLength: positive(request.contextLength, "context_length"),
      maxRows: positive(request.maxRows, "max_rows"),
    },
    digest,
    arena: { name: request.arenaName, epoch: request.arenaEpoch },
  };
}

/** In hexadecimal. @throws ThermoclineError INVALID_ARGUMENT */
export function toDigest(bytes: Uint8Array): string {
  if (bytes.length === DIGEST_BYTES) return Buffer.from(bytes).toString("hex");
  throw invalid(`plan_digest has ${bytes.length} bytes; a SHA-256 has ${DIGEST_BYTES}`);
}

function toShape(shape: WireShape): ModelShape {
  return {
    layers: positive(shape.layers, "shape.layers"),
    embd: positive(shape.embd, "shape.embd"),
    heads: positive(shape.heads, "shape.heads"),
    kvHeads: positive(shape.kvHeads, "shape.kv_heads"),
    headDim: positive(shape.headDim, "shape.head_dim"),
    ff: positive(shape.ff, "shape.ff"),
    vocab: positive(shape.vocab, "shape.vocab"),
    norm: known(NORMS, shape.norm, "shape.norm"),
    normEpsilon: shape.normEpsilon,
    ropeBase: shape.ropeBase,
    ropeScale: shape.ropeScale,
    ropeDims: shape.ropeDims,
    ropePairs: known(ROPE_PAIRS, shape.ropePairs, "shape.rope_pairs"),
    activation: known(ACTIVATIONS, shape.activation, "shape.activation"),
    reluThreshold: shape.reluThreshold,
    predictorThreshold: shape.predictorThreshold,
  };
}

function toTensor(tensor: Tensor, index: number): TensorRef {
  const field = `tensors[${index}]`;
  if (tensor.name === "") throw invalid(`${field}.name is empty`);
  return {
    name: tensor.name,
    type: known(WEIGHT_TYPES, tensor.type, `${field}.type (${tensor.name})`),
    offset: toNumber(tensor.offset, `${field}.offset (${tensor.name})`),
    rows: positive(tensor.rows, `${field}.rows (${tensor.name})`),
    cols: positive(tensor.cols, `${field}.cols (${tensor.name})`),
  };
}

function toSchedule(schedule: WireSchedule, shape: ModelShape): Schedule {
  const executors = schedule.executors.map((kind, index) =>
    known(KINDS, kind, `schedule.executors[${index}]`),
  );
  if (executors.length > MAX_EXECUTORS) {
    throw invalid(
      `schedule.executors has ${executors.length} entries; at most ${MAX_EXECUTORS} are possible`,
    );
  }
  if (schedule.layers.length !== shape.layers) {
    throw invalid(
      `schedule.layers has ${schedule.layers.length} entries for a model of ${shape.layers} layers`,
    );
  }
  const owner = (executor: number, field: string): number => {
    if (executor >= executors.length) {
      throw invalid(`${field} is ${executor}, but the schedule has ${executors.length} executors`);
    }
    return executor;
  };
  return {
    executors,
    layers: schedule.layers.map(({ attention, neuronOwner }, index) => {
      const field = `schedule.layers[${index}]`;
      if (neuronOwner.length !== shape.ff) {
        throw invalid(`${field}.neuron_owner has ${neuronOwner.length} bytes for ${shape.ff} neurons`);
      }
      const stray = neuronOwner.findIndex((executor) => executor >= executors.length);
      if (stray >= 0) owner(neuronOwner[stray] ?? 0, `${field}.neuron_owner[${stray}]`);
      return { attention: owner(attention, `${field}.attention`), neuronOwner };
    }),
    head: owner(schedule.head, "schedule.head"),
  };
}

function known<K, V>(values: ReadonlyMap<K, V>, key: K, field: string): V {
  const value = values.get(key);
  if (value === undefined) throw invalid(`${field} is ${key}, which this build does not know`);
  return value;
}

function positive(value: number, field: string): number {
  if (value < 1) throw invalid(`${field} is ${value}; it must be at least 1`);
  return value;
}

/** @throws ThermoclineError INVALID_ARGUMENT */
export function toNumber(value: bigint, field: string): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${field} is ${value}, more than 2^53 - 1`);
  return Number(value);
}

function invalid(message: string): ThermoclineError {
  return new ThermoclineError("INVALID_ARGUMENT", `the request is not valid: ${message}`);
}
