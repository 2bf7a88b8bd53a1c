/** A real OTLP/gRPC receiver for traces and metrics, which keeps what it gets. */
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { type handleUnaryCall, Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";

export type AttributeValue = string | number | boolean | AttributeValue[] | null;
export type Attributes = Record<string, AttributeValue>;

export interface ReceivedSpan {
  /** `service.name` of its resource. */
  service: string;
  traceId: string;
  spanId: string;
  /** Empty for a root. */
  parentSpanId: string;
  name: string;
  /** 1 internal, 2 server. */
  kind: number;
  /** Nanoseconds since the epoch. */
  startNs: bigint;
  endNs: bigint;
  attributes: Attributes;
  links: { traceId: string; spanId: string }[];
  /** Code 2 is an error. */
  status: { code: number; message: string };
}

export interface ReceivedPoint {
  attributes: Attributes;
  /** Of sums and gauges; null for histograms. */
  value: number | null;
  /** Of histograms; null for sums and gauges. */
  count: number | null;
  sum: number | null;
  min: number | null;
  max: number | null;
  /** Of exponential histograms: bucket i holds (base^(offset + i), base^(offset + i + 1)] with base 2^(2^-scale). */
  scale: number | null;
  offset: number | null;
  bucketCounts: number[];
}

export interface ReceivedMetric {
  service: string;
  name: string;
  unit: string;
  kind: "gauge" | "sum" | "histogram" | "exponential histogram";
  points: ReceivedPoint[];
}

export class OtlpReceiver {
  readonly spans: ReceivedSpan[] = [];
  /** Every export of a metric, oldest first. */
  readonly metrics: ReceivedMetric[] = [];
  private readonly server = new Server({ "grpc.max_receive_message_length": -1 });
  private port = 0;

  /** @param port 0 takes a free one */
  static async start(port = 0): Promise<OtlpReceiver> {
    const receiver = new OtlpReceiver();
    receiver.serve("trace.v1.TraceService", (request) => receiver.spans.push(...readSpans(request)));
    receiver.serve("metrics.v1.MetricsService", (request) => receiver.metrics.push(...readMetrics(request)));
    receiver.port = await new Promise<number>((resolve, reject) => {
      receiver.server.bindAsync(`127.0.0.1:${port}`, ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return receiver;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Polls until `found` gives something. @throws Error after the deadline */
  async waitFor<T>(what: string, found: () => T | undefined | false, timeoutMs = 10_000): Promise<T> {
    for (const deadline = Date.now() + timeoutMs; ; ) {
      const result = found();
      if (result !== undefined && result !== false) return result;
      if (Date.now() > deadline) {
        throw new Error(`no ${what} within ${timeoutMs} ms; there are ${this.spans.length} spans`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** The last export of a metric. */
  metric(name: string): ReceivedMetric | undefined {
    return this.metrics.findLast((metric) => metric.name === name);
  }

  /** Children of a span, in the order of their starts. */
  childrenOf(parent: ReceivedSpan): ReceivedSpan[] {
    return this.spans
      .filter((span) => span.traceId === parent.traceId && span.parentSpanId === parent.spanId)
      .sort((a, b) => (a.startNs < b.startNs ? -1 : 1));
  }

  close(): void {
    this.server.forceShutdown();
  }

  private serve(service: string, take: (request: Message) => void): void {
    const definition: ServiceDefinition = {
      Export: {
        path: `/opentelemetry.proto.collector.${service}/Export`,
        requestStream: false,
        responseStream: false,
        requestSerialize: (bytes: Buffer) => bytes,
        requestDeserialize: (bytes: Buffer) => bytes,
        responseSerialize: (bytes: Buffer) => bytes,
        responseDeserialize: (bytes: Buffer) => bytes,
      },
    };
    const handler: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
      take(new Message(call.request));
      callback(null, Buffer.alloc(0));
    };
    this.server.addService(definition, { Export: handler });
  }
}

/** A protobuf message of which only field numbers are known. */
class Message {
  private readonly fields = new Map<number, (bigint | Uint8Array)[]>();

  constructor(bytes: Uint8Array) {
    const reader = new BinaryReader(bytes);
    while (reader.pos < reader.len) {
      const [number, type] = reader.tag();
      const value =
        type === WireType.Varint
          ? BigInt(reader.uint64())
          : type === WireType.Bit64
            ? BigInt(reader.fixed64())
            : type === WireType.Bit32
              ? BigInt(reader.fixed32())
              : reader.bytes();
      this.fields.set(number, [...(this.fields.get(number) ?? []), value]);
    }
  }

  has(number: number): boolean {
    return this.fields.has(number);
  }

  messages(number: number): Message[] {
    return (this.fields.get(number) ?? [])
      .filter((value) => value instanceof Uint8Array)
      .map((value) => new Message(value));
  }

  message(number: number): Message {
    return this.messages(number)[0] ?? new Message(new Uint8Array());
  }

  bytes(number: number): Uint8Array {
    const value = this.fields.get(number)?.[0];
    return value instanceof Uint8Array ? value : new Uint8Array();
  }

  hex(number: number): string {
    return Buffer.from(this.bytes(number)).toString("hex");
  }

  string(number: number): string {
    return Buffer.from(this.bytes(number)).toString("utf8");
  }

  /** uint64, fixed64 and enums. */
  unsigned(number: number): bigint {
    const value = this.fields.get(number)?.[0];
    return typeof value === "bigint" ? value : 0n;
  }

  /** int64 and sfixed64. */
  signed(number: number): number {
    return Number(BigInt.asIntN(64, this.unsigned(number)));
  }

  /** sint32. */
  zigzag(number: number): number {
    const value = this.unsigned(number);
    return Number((value >> 1n) ^ -(value & 1n));
  }

  double(number: number): number {
    const buffer = Buffer.alloc(8);
    buffer.writeBigUInt64LE(this.unsigned(number));
    return buffer.readDoubleLE();
  }

  doubleOrNull(number: number): number | null {
    return this.has(number) ? this.double(number) : null;
  }

  /** A packed list of varints. */
  varints(number: number): number[] {
    const reader = new BinaryReader(this.bytes(number));
    const values: number[] = [];
    while (reader.pos < reader.len) values.push(Number(reader.uint64()));
    return values;
  }

  /** A packed list of fixed64. */
  fixed64s(number: number): number[] {
    const reader = new BinaryReader(this.bytes(number));
    const values: number[] = [];
    while (reader.pos < reader.len) values.push(Number(reader.fixed64()));
    return values;
  }
}

// Field numbers are those of opentelemetry-proto 1.x.

function readValue(value: Message): AttributeValue {
  if (value.has(1)) return value.string(1);
  if (value.has(2)) return value.unsigned(2) === 1n;
  if (value.has(3)) return value.signed(3);
  if (value.has(4)) return value.double(4);
  if (value.has(5)) return value.message(5).messages(1).map(readValue);
  return null;
}

function readAttributes(pairs: readonly Message[]): Attributes {
  return Object.fromEntries(pairs.map((pair) => [pair.string(1), readValue(pair.message(2))]));
}

function serviceOf(resource: Message): string {
  return String(readAttributes(resource.messages(1))["service.name"]);
}

function readSpans(request: Message): ReceivedSpan[] {
  return request.messages(1).flatMap((resourceSpans) =>
    resourceSpans.messages(2).flatMap((scopeSpans) =>
      scopeSpans.messages(2).map((span) => ({
        service: serviceOf(resourceSpans.message(1)),
        traceId: span.hex(1),
        spanId: span.hex(2),
        parentSpanId: span.hex(4),
        name: span.string(5),
        kind: Number(span.unsigned(6)),
        startNs: span.unsigned(7),
        endNs: span.unsigned(8),
        attributes: readAttributes(span.messages(9)),
        links: span.messages(13).map((link) => ({ traceId: link.hex(1), spanId: link.hex(2) })),
        status: { code: Number(span.message(15).unsigned(3)), message: span.message(15).string(2) },
      })),
    ),
  );
}

function readMetrics(request: Message): ReceivedMetric[] {
  return request.messages(1).flatMap((resourceMetrics) =>
    resourceMetrics.messages(2).flatMap((scopeMetrics) =>
      scopeMetrics.messages(2).map((metric) => ({
        service: serviceOf(resourceMetrics.message(1)),
        name: metric.string(1),
        unit: metric.string(3),
        ...readData(metric),
      })),
    ),
  );
}

function readData(metric: Message): Pick<ReceivedMetric, "kind" | "points"> {
  const points = (number: number) => metric.message(number).messages(1);
  if (metric.has(5)) return { kind: "gauge", points: points(5).map(readNumber) };
  if (metric.has(7)) return { kind: "sum", points: points(7).map(readNumber) };
  if (metric.has(9)) return { kind: "histogram", points: points(9).map(readHistogram) };
  return { kind: "exponential histogram", points: points(10).map(readExponentialHistogram) };
}

const NO_HISTOGRAM = {
  count: null,
  sum: null,
  min: null,
  max: null,
  scale: null,
  offset: null,
  bucketCounts: [],
};

function readNumber(point: Message): ReceivedPoint {
  const value = point.has(4) ? point.double(4) : point.signed(6);
  return { ...NO_HISTOGRAM, attributes: readAttributes(point.messages(7)), value };
}

function readHistogram(point: Message): ReceivedPoint {
  return {
    ...NO_HISTOGRAM,
    attributes: readAttributes(point.messages(9)),
    value: null,
    count: Number(point.unsigned(4)),
    sum: point.doubleOrNull(5),
    min: point.doubleOrNull(11),
    max: point.doubleOrNull(12),
    bucketCounts: point.fixed64s(6),
  };
}

function readExponentialHistogram(point: Message): ReceivedPoint {
  return {
    attributes: readAttributes(point.messages(1)),
    value: null,
    count: Number(point.unsigned(4)),
    sum: point.doubleOrNull(5),
    min: point.doubleOrNull(12),
    max: point.doubleOrNull(13),
    scale: point.zigzag(6),
    offset: point.message(8).zigzag(1),
    bucketCounts: point.message(8).varints(2),
  };
}
