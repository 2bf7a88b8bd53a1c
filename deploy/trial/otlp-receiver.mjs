// Takes traces over OTLP/gRPC on port 4317 and shows them as Jaeger does: GET /api/traces/<id> on port 16686. It stands
// in for Jaeger in compose.trial.yaml; fields are numbered as in opentelemetry/proto/trace/v1/trace.proto.
import { createServer } from "node:http";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import { Server, ServerCredentials } from "@grpc/grpc-js";

const COLLECTOR = "opentelemetry.proto.collector";
const GRPC_ADDRESS = "0.0.0.0:4317";
const HTTP_PORT = 16686;

/** Trace id -> span id -> span, with `operationName` and `processID` as in Jaeger's answers. */
const traces = new Map();

const server = new Server({ "grpc.max_receive_message_length": -1 });
server.addService(exportService("trace"), {
  export: ({ request }, callback) => {
    message(request, { 1: addResourceSpans });
    callback(null, Buffer.alloc(0));
  },
});
server.addService(exportService("metrics"), {
  export: (_call, callback) => callback(null, Buffer.alloc(0)),
});
server.bindAsync(GRPC_ADDRESS, ServerCredentials.createInsecure(), (error) => {
  if (error !== null) throw error;
});

const http = createServer((request, response) => {
  const traceID = /^\/api\/traces\/([0-9a-f]{32})$/.exec(request.url ?? "")?.[1];
  const trace = traces.get(traceID);
  response.writeHead(trace === undefined ? 404 : 200, { "content-type": "application/json" });
  response.end(JSON.stringify({ data: trace === undefined ? [] : [{ traceID, ...trace }] }));
});
http.listen(HTTP_PORT, "0.0.0.0");

for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => process.exit(0));

function exportService(signal) {
  const name = `${signal[0].toUpperCase()}${signal.slice(1)}Service`;
  const bytes = (value) => value;
  return {
    export: {
      path: `/${COLLECTOR}.${signal}.v1.${name}/Export`,
      requestStream: false,
      responseStream: false,
      requestSerialize: bytes,
      requestDeserialize: bytes,
      responseSerialize: bytes,
      responseDeserialize: bytes,
    },
  };
}

function addResourceSpans(resourceSpans) {
  let serviceName = "";
  const spans = [];
  message(resourceSpans, {
    1: (resource) =>
      message(resource, {
        1: (attribute) => {
          const [key, value] = keyAndString(attribute);
          if (key === "service.name") serviceName = value;
        },
      }),
    2: (scopeSpans) => message(scopeSpans, { 2: (span) => spans.push(span) }),
  });
  for (const span of spans) addSpan(span, serviceName);
}

function addSpan(bytes, serviceName) {
  const span = { traceID: "", spanID: "", parentSpanID: "", operationName: "", processID: serviceName };
  message(bytes, {
    1: (id) => (span.traceID = hex(id)),
    2: (id) => (span.spanID = hex(id)),
    4: (id) => (span.parentSpanID = hex(id)),
    5: (name) => (span.operationName = text(name)),
  });
  const trace = traces.get(span.traceID) ?? { spans: [], processes: {} };
  traces.set(span.traceID, trace);
  trace.processes[serviceName] = { serviceName };
  const { traceID, spanID, parentSpanID, operationName, processID } = span;
  const references = parentSpanID === "" ? [] : [{ refType: "CHILD_OF", traceID, spanID: parentSpanID }];
  trace.spans.push({ traceID, spanID, operationName, references, processID });
}

/** A KeyValue whose value is a string. */
function keyAndString(bytes) {
  let key = "";
  let value = "";
  message(bytes, {
    1: (name) => (key = text(name)),
    2: (any) => message(any, { 1: (string) => (value = text(string)) }),
  });
  return [key, value];
}

/** Calls `fields[n]` with the bytes of each length-delimited field n; skips all others. */
function message(bytes, fields) {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [number, wireType] = reader.tag();
    const visit = wireType === WireType.LengthDelimited ? fields[number] : undefined;
    if (visit === undefined) reader.skip(wireType, number);
    else visit(reader.bytes());
  }
}

function hex(bytes) {
  return Buffer.from(bytes).toString("hex");
}

function text(bytes) {
  return Buffer.from(bytes).toString("utf8");
}
