/**
 * An OTLP/gRPC receiver that takes everything and keeps nothing; a program of its own. It prints its URL, serves until
 * its standard input ends, and then prints what it took, as JSON.
 */
import { type handleUnaryCall, Server, ServerCredentials, type ServiceDefinition } from "@grpc/grpc-js";

/** What a sink took. */
export interface SinkTally {
  traceExports: number;
  traceBytes: number;
  metricExports: number;
}

const tally: SinkTally = { traceExports: 0, traceBytes: 0, metricExports: 0 };
const server = new Server({ "grpc.max_receive_message_length": -1 });
accept("trace.v1.TraceService", (request) => {
  tally.traceExports++;
  tally.traceBytes += request.length;
});
accept("metrics.v1.MetricsService", () => {
  tally.metricExports++;
});
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  process.stdout.write(`http://127.0.0.1:${port}\n`);
});
process.stdin.resume().on("end", () => {
  server.forceShutdown();
  process.stdout.write(`${JSON.stringify(tally)}\n`);
});

function accept(service: string, take: (request: Buffer) => void): void {
  const asIs = (bytes: Buffer) => bytes;
  const definition: ServiceDefinition = {
    Export: {
      path: `/opentelemetry.proto.collector.${service}/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: asIs,
      requestDeserialize: asIs,
      responseSerialize: asIs,
      responseDeserialize: asIs,
    },
  };
  const handler: handleUnaryCall<Buffer, Buffer> = (call, callback) => {
    take(call.request);
    callback(null, Buffer.alloc(0));
  };
  server.addService(definition, { Export: handler });
}
