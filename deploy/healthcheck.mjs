// Asks grpc.health.v1 whether the server at an address serves; exits with 0 if it does. Docker runs this every few
// seconds, so it needs nothing but Node's own HTTP/2: with a gRPC library it would take three times the CPU time.
//
//   node deploy/healthcheck.mjs unix:/run/thermocline/cpu.sock
//   node deploy/healthcheck.mjs 127.0.0.1:50051
import { connect as connectHttp2, constants } from "node:http2";
import { connect as connectSocket } from "node:net";

const DEADLINE_MS = 3000;
/** A gRPC message: one byte (not compressed), four bytes of length, and an empty HealthCheckRequest. */
const ANY_SERVICE = Buffer.alloc(5);
/** HealthCheckResponse { status: SERVING } */
const SERVING = Buffer.from([0, 0, 0, 0, 2, 0x08, 1]);

const [address] = process.argv.slice(2);
if (address === undefined) fail("give the server's address: unix:/path or host:port");
setTimeout(() => fail(`${address} did not answer within ${DEADLINE_MS} ms`), DEADLINE_MS).unref();

const unixPath = /^unix:(.+)$/.exec(address)?.[1];
const session = connectHttp2(
  unixPath === undefined ? `http://${address}` : "http://localhost",
  unixPath === undefined ? {} : { createConnection: () => connectSocket(unixPath) },
);
session.on("error", (error) => fail(`${address}: ${error.message}`));

const call = session.request({
  [constants.HTTP2_HEADER_METHOD]: "POST",
  [constants.HTTP2_HEADER_PATH]: "/grpc.health.v1.Health/Check",
  [constants.HTTP2_HEADER_CONTENT_TYPE]: "application/grpc",
  [constants.HTTP2_HEADER_TE]: "trailers",
});
call.on("error", (error) => fail(`${address}: ${error.message}`));
const chunks = [];
call.on("data", (chunk) => chunks.push(chunk));
call.on("end", () => {
  if (!Buffer.concat(chunks).equals(SERVING)) fail(`${address} is not serving`);
  process.exit(0);
});
call.end(ANY_SERVICE);

function fail(reason) {
  process.stderr.write(`${reason}\n`);
  process.exit(1);
}
