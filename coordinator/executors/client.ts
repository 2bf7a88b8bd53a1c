/** The control connection to one executor. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Client, type ClientReadableStream, credentials, Metadata } from "@grpc/grpc-js";
import { service as healthService } from "grpc-health-check";
import { type Address, formatAddress } from "../../proto/address.js";
import { ThermoclineError } from "../../proto/errors.js";
import {
  ExecutorService,
  type Loaded,
  type LoadRequest,
  type StageExchangeRequestSchema,
  type StatusResponse,
} from "../../proto/gen/thermocline/v1/executor_pb.js";
import { GrpcClient } from "../../proto/grpc.js";
import { VERSION } from "../../proto/version.js";

/** An executor answers at once or not at all: nothing long runs on its event loop. */
const STATUS_DEADLINE_MS = 2000;

const CHANNEL_OPTIONS = {
  // A connection of its own, with its own back-off: another client's failures to connect are no news about this one.
  "grpc.use_local_subchannel_pool": 1,
  "grpc.initial_reconnect_backoff_ms": 50,
  "grpc.max_reconnect_backoff_ms": 1000,
  "grpc.enable_http_proxy": 0,
  // An executor that is frozen while no step waits for it is noticed by these.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5000,
  "grpc.max_send_message_length": -1,
};

export class ExecutorClient {
  private readonly channel: Client;
  private readonly executor: GrpcClient<typeof ExecutorService>;
  private watching: ClientReadableStream<unknown> | null = null;

  /** @param label names the executor in errors, such as "the GPU executor (pid 123)" */
  constructor(
    readonly address: Address,
    private readonly label: string,
  ) {
    this.channel = new Client(formatAddress(address), credentials.createInsecure(), CHANNEL_OPTIONS);
    this.executor = new GrpcClient(ExecutorService, this.channel);
  }

  /**
   * @throws ThermoclineError FAILED_PRECONDITION when the executor is another build than this coordinator,
   * UNAVAILABLE or DEADLINE_EXCEEDED when it does not answer
   */
  async status(signal: AbortSignal | null, deadlineMs: number = STATUS_DEADLINE_MS): Promise<StatusResponse> {
    const status = await this.call(() => this.executor.unary("status", {}, { deadlineMs, signal }));
    if (status.version === VERSION) return status;
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `${this.label} is version "${status.version}" and this coordinator is version "${VERSION}"; ` +
        "run the same version on both sides",
    );
  }

  /** @throws ThermoclineError with the executor's own code and sentence */
  async load(
    request: LoadRequest,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<Loaded> {
    return this.call(async () => {
      for await (const { event } of this.executor.serverStream("load", request, { deadlineMs, signal })) {
        if (event.case === "loaded") return event.value;
        if (event.case === "progress") {
          onProgress(Number(event.value.bytesDone), Number(event.value.bytesTotal));
        }
      }
      throw new ThermoclineError("INTERNAL", "it ended the Load without saying that it had loaded");
    });
  }

  /** @returns bytes that the step which names the exchange will copy there */
  async stageExchange(
    request: MessageInitShape<typeof StageExchangeRequestSchema>,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<number> {
    const { bytes } = await this.call(() =>
      this.executor.unary("stageExchange", request, { deadlineMs, signal }),
    );
    return Number(bytes);
  }

  async drain(deadlineMs: number): Promise<void> {
    await this.call(() => this.executor.unary("drain", {}, { deadlineMs, signal: null }));
  }

  /**
   * Calls `onLost` once, with what happened, when the executor says that it is going or the connection breaks. Not
   * called after {@link close}.
   */
  watch(onLost: (cause: string) => void): void {
    const { Watch } = healthService;
    if (Watch === undefined) throw new Error("grpc-health-check has no Watch method");
    const stream = this.channel.makeServerStreamRequest<object, { status?: string }>(
      Watch.path,
      Watch.requestSerialize,
      Watch.responseDeserialize as (bytes: Buffer) => { status?: string },
      { service: "" },
      new Metadata(),
    );
    this.watching = stream;
    const lose = (cause: string) => {
      if (this.watching !== stream) return;
      this.watching = null;
      stream.cancel();
      onLost(cause);
    };
    stream.on("data", ({ status }) => {
      if (status !== "SERVING") lose("is shutting down");
    });
    stream.on("error", () => lose("broke off the control connection"));
    stream.on("end", () => lose("closed the control connection"));
  }

  /** Idempotent. */
  close(): void {
    const stream = this.watching;
    this.watching = null;
    stream?.cancel();
    this.channel.close();
  }

  private async call<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof ThermoclineError)) throw error;
      throw new ThermoclineError(error.code, `${this.label}: ${error.message}`, { cause: error });
    }
  }
}
