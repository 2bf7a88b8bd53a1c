/** Generated service descriptions on grpc-js: the server's definition, and a typed client. */
import {
  create,
  type DescMessage,
  type DescService,
  fromBinary,
  type MessageInitShape,
  type MessageShape,
  toBinary,
} from "@bufbuild/protobuf";
import {
  Client,
  credentials,
  Metadata,
  type MethodDefinition,
  type ServiceDefinition,
  type ServiceError,
} from "@grpc/grpc-js";
import { formatAddress, parseAddress } from "./address.js";
import { statusCodeOf, ThermoclineError } from "./errors.js";

const serializer = (schema: DescMessage) => (message: MessageShape<DescMessage>) =>
  Buffer.from(toBinary(schema, message));
const deserializer = (schema: DescMessage) => (bytes: Buffer) => fromBinary(schema, bytes);

/** What `grpc.Server.addService` takes, from a generated service. Handlers have the methods' local names. */
export function serviceDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method): [string, MethodDefinition<unknown, unknown>] => [
      method.localName,
      {
        path: `/${service.typeName}/${method.name}`,
        requestStream: method.methodKind === "client_streaming" || method.methodKind === "bidi_streaming",
        responseStream: method.methodKind === "server_streaming" || method.methodKind === "bidi_streaming",
        requestSerialize: serializer(method.input) as (value: unknown) => Buffer,
        requestDeserialize: deserializer(method.input),
        responseSerialize: serializer(method.output) as (value: unknown) => Buffer,
        responseDeserialize: deserializer(method.output),
      },
    ]),
  );
}

/** Every call has a deadline; aborting `signal` cancels it. */
export interface CallOptions {
  deadlineMs: number;
  signal: AbortSignal | null;
}

type MethodNames<S extends DescService, Kind> = {
  [K in keyof S["method"]]: S["method"][K] extends { methodKind: Kind } ? K : never;
}[keyof S["method"]] &
  string;
type Input<S extends DescService, K extends keyof S["method"]> = MessageInitShape<S["method"][K]["input"]>;
type Output<S extends DescService, K extends keyof S["method"]> = MessageShape<S["method"][K]["output"]>;

/**
 * Calls the methods of one generated service over a grpc-js channel. Failures are {@link ThermoclineError}s with the
 * status code and the sentence the server gave.
 */
export class GrpcClient<S extends DescService> {
  private readonly methods: ServiceDefinition;

  constructor(
    private readonly service: S,
    private readonly channel: Client,
  ) {
    this.methods = serviceDefinition(service);
  }

  unary<K extends MethodNames<S, "unary">>(
    method: K,
    request: Input<S, K>,
    options: CallOptions,
  ): Promise<Output<S, K>> {
    const { path, requestSerialize, responseDeserialize } = this.definition(method);
    return new Promise((resolve, reject) => {
      const call = this.channel.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        this.message(method, request),
        new Metadata(),
        { deadline: Date.now() + options.deadlineMs },
        (error, response) => {
          options.signal?.removeEventListener("abort", cancel);
          if (error !== null) reject(fromServiceError(error));
          else resolve(response as Output<S, K>);
        },
      );
      const cancel = () => call.cancel();
      options.signal?.addEventListener("abort", cancel, { once: true });
      if (options.signal?.aborted === true) cancel();
    });
  }

  /** Leaving the iteration early cancels the call. */
  async *serverStream<K extends MethodNames<S, "server_streaming">>(
    method: K,
    request: Input<S, K>,
    options: CallOptions,
  ): AsyncGenerator<Output<S, K>, void> {
    const { path, requestSerialize, responseDeserialize } = this.definition(method);
    const call = this.channel.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      this.message(method, request),
      new Metadata(),
      { deadline: Date.now() + options.deadlineMs },
    );
    const cancel = () => call.cancel();
    options.signal?.addEventListener("abort", cancel, { once: true });
    if (options.signal?.aborted === true) cancel();
    try {
      for await (const response of call) yield response as Output<S, K>;
    } catch (error) {
      throw isServiceError(error) ? fromServiceError(error) : error;
    } finally {
      options.signal?.removeEventListener("abort", cancel);
      call.cancel();
    }
  }

  private definition(method: string): MethodDefinition<unknown, unknown> {
    const definition = this.methods[method];
    if (definition === undefined) throw new Error(`${this.service.typeName} has no method ${method}`);
    return definition;
  }

  private message<K extends keyof S["method"] & string>(method: K, request: Input<S, K>): unknown {
    const schema: S["method"][K]["input"] = (this.service as DescService).method[method]
      ?.input as DescMessage;
    return create(schema, request);
  }
}

export function isServiceError(error: unknown): error is ServiceError {
  return error instanceof Error && "code" in error && typeof error.code === "number" && "details" in error;
}

/** The error a server sent, or the channel made, with its code and sentence. */
export function fromServiceError(error: ServiceError): ThermoclineError {
  return new ThermoclineError(statusCodeOf(error.code), error.details, { cause: error });
}

/**
 * A channel to the server at `address`, in clear text. Nothing is sent before the first call.
 * @param option the option the address came from, for the error
 * @throws ThermoclineError INVALID_ARGUMENT
 */
export function connect(address: string, option: string): Client {
  return new Client(formatAddress(parseAddress(address, option)), credentials.createInsecure(), {
    "grpc.enable_http_proxy": 0,
  });
}
