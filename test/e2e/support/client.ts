/** A gRPC client of a running server, with what tests ask of it again and again. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { Client } from "@grpc/grpc-js";
import { ThermoclineError } from "../../../proto/errors.js";
import {
  type GenerateRequestSchema,
  type GenerateSummary,
  InferenceService,
  type Token,
} from "../../../proto/gen/thermocline/v1/inference_pb.js";
import { connect, GrpcClient } from "../../../proto/grpc.js";
import { PATIENCE_MS } from "./sandbox.js";

export type Request = MessageInitShape<typeof GenerateRequestSchema>;

/** What a Generate call gave until it ended. */
export interface Outcome {
  tokens: Token[];
  /** All text, with what was held back until the end. */
  text: string;
  summary: GenerateSummary | null;
  error: ThermoclineError | null;
  /** `performance.now()` at the end. */
  endedMs: number;
}

/** A Generate call at work. */
export interface Call {
  /** Resolves when this many tokens have come, or the call has ended. */
  tokens(count: number): Promise<void>;
  cancel(): void;
  /** Never rejects. */
  outcome: Promise<Outcome>;
}

export class TestClient {
  readonly service: GrpcClient<typeof InferenceService>;
  private readonly channel: Client;

  constructor(address: string) {
    this.channel = connect(address, "address");
    this.service = new GrpcClient(InferenceService, this.channel);
  }

  start(request: Request, deadlineMs = PATIENCE_MS): Call {
    const control = new AbortController();
    const outcome: Outcome = { tokens: [], text: "", summary: null, error: null, endedMs: 0 };
    const waiters: { count: number; resolve: () => void }[] = [];
    const wake = (count: number) => {
      for (const waiter of waiters) if (count >= waiter.count) waiter.resolve();
    };
    const work = async () => {
      const options = { deadlineMs, signal: control.signal };
      try {
        for await (const { event } of this.service.serverStream("generate", request, options)) {
          outcome.text += event.value?.text ?? "";
          if (event.case === "summary") outcome.summary = event.value;
          if (event.case === "token") wake(outcome.tokens.push(event.value));
        }
      } catch (error) {
        if (!(error instanceof ThermoclineError)) throw error;
        outcome.error = error;
      }
      outcome.endedMs = performance.now();
      wake(Number.POSITIVE_INFINITY);
      return outcome;
    };
    return {
      tokens: (count) =>
        new Promise((resolve) => {
          if (outcome.tokens.length >= count || outcome.endedMs > 0) resolve();
          else waiters.push({ count, resolve });
        }),
      cancel: () => control.abort(),
      outcome: work(),
    };
  }

  /** The whole text, or the call's error. */
  async text(request: Request): Promise<string> {
    const { text, error } = await this.start(request).outcome;
    if (error !== null) throw error;
    return text;
  }

  close(): void {
    this.channel.close();
  }
}
