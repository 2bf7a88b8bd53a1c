/** ExecutorService over grpc-js: messages in and out of an {@link Executor}. */
import { create } from "@bufbuild/protobuf";
import type { handleServerStreamingCall, handleUnaryCall, UntypedServiceImplementation } from "@grpc/grpc-js";
import type { ExecutorKind, LoadedEngine } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import {
  type DrainRequest,
  type DrainResponse,
  DrainResponseSchema,
  ExecutorState,
  type LoadRequest,
  type LoadResponse,
  LoadResponseSchema,
  type StageExchangeRequest,
  type StageExchangeResponse,
  StageExchangeResponseSchema,
  type StatusRequest,
  type StatusResponse,
  StatusResponseSchema,
} from "../proto/gen/thermocline/v1/executor_pb.js";
import { ExecutorKind as WireKind } from "../proto/gen/thermocline/v1/inference_pb.js";
import { VERSION } from "../proto/version.js";
import { toStatus } from "./errors.js";
import { exchangeOrder } from "./exchange-order.js";
import type { Executor } from "./executor.js";
import { loadOrder } from "./plan.js";
import type { State } from "./state.js";

/** Least time between two progress messages; more of them tell nobody anything. */
const PROGRESS_INTERVAL_MS = 50;

const WIRE_KINDS: Record<ExecutorKind, WireKind> = { cpu: WireKind.CPU, gpu: WireKind.GPU };
const WIRE_STATES: Record<State["kind"], ExecutorState> = {
  idle: ExecutorState.IDLE,
  loading: ExecutorState.LOADING,
  serving: ExecutorState.SERVING,
  failed: ExecutorState.FAILED,
};

export function executorService(executor: Executor): UntypedServiceImplementation {
  const load: handleServerStreamingCall<LoadRequest, LoadResponse> = (call) => {
    const cancelled = new AbortController();
    call.on("cancelled", () =>
      cancelled.abort(new ThermoclineError("CANCELLED", "the coordinator cancelled the Load")),
    );
    const work = async () => {
      const order = loadOrder(call.request, executor.device.kind);
      const loaded = await executor.load(order, progressTo(call.write.bind(call)), cancelled.signal);
      call.write(loadedMessage(loaded));
      call.end();
    };
    work().catch((error: unknown) => call.emit("error", toStatus(error)));
  };

  const status: handleUnaryCall<StatusRequest, StatusResponse> = (_call, callback) => {
    const { device, state } = executor;
    callback(
      null,
      create(StatusResponseSchema, {
        state: WIRE_STATES[state.kind],
        kind: WIRE_KINDS[device.kind],
        device: device.name,
        pid: process.pid,
        steps: BigInt(executor.steps),
        budgetBytes: BigInt(device.budgetBytes),
        failure: state.kind === "failed" ? state.reason : "",
        version: VERSION,
        threads: device.threads,
        card: device.card ?? "",
      }),
    );
  };

  const stageExchange: handleUnaryCall<StageExchangeRequest, StageExchangeResponse> = (call, callback) => {
    const cancelled = new AbortController();
    call.on("cancelled", () =>
      cancelled.abort(new ThermoclineError("CANCELLED", "the coordinator cancelled the exchange")),
    );
    const work = async () => executor.stage(exchangeOrder(call.request), cancelled.signal);
    work().then(
      (bytes) => callback(null, create(StageExchangeResponseSchema, { bytes: BigInt(bytes) })),
      (error: unknown) => callback(toStatus(error)),
    );
  };

  const drain: handleUnaryCall<DrainRequest, DrainResponse> = (_call, callback) => {
    executor.drain().then(
      () => callback(null, create(DrainResponseSchema)),
      (error: unknown) => callback(toStatus(error)),
    );
  };

  return { load, status, stageExchange, drain };
}

function progressTo(write: (message: LoadResponse) => void): (done: number, total: number) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (bytesDone, bytesTotal) => {
    const now = performance.now();
    if (now - last < PROGRESS_INTERVAL_MS && bytesDone < bytesTotal) return;
    last = now;
    const value = { bytesDone: BigInt(bytesDone), bytesTotal: BigInt(bytesTotal) };
    write(create(LoadResponseSchema, { event: { case: "progress", value } }));
  };
}

function loadedMessage({ memory, instructionSet, threads }: LoadedEngine): LoadResponse {
  return create(LoadResponseSchema, {
    event: {
      case: "loaded",
      value: {
        weightBytes: BigInt(memory.weightBytes),
        kvCacheBytes: BigInt(memory.kvCacheBytes),
        scratchBytes: BigInt(memory.scratchBytes),
        instructionSet,
        threads,
      },
    },
  });
}
