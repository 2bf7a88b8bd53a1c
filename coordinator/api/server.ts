/** The public port: gRPC, gRPC-Web and Connect (also JSON by plain curl), over HTTP/1.1 and HTTP/2 without TLS. */
import { createServer as createHttp1Server } from "node:http";
import { createServer as createHttp2Server, type ServerHttp2Session } from "node:http2";
import type { Socket } from "node:net";
import type { ConnectRouter } from "@connectrpc/connect";
import type { Address } from "../../proto/address.js";
import { ThermoclineError } from "../../proto/errors.js";
import { Health as HealthDescription } from "../../proto/gen/health/v1/health_pb.js";
import { InferenceService } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { connectListener } from "./connect-listener.js";
import { Health } from "./health.js";
import { type InferenceDependencies, inferenceService } from "./inference-service.js";
import { listen } from "./listen.js";
import { muxPort } from "./port-mux.js";
import { addReflection } from "./reflection.js";

export interface PublicServer {
  /** Where it listens; port 0 is replaced by the one the system chose. */
  readonly address: Address;
  /** Answers health checks; it is not serving at first. */
  setServing(serving: boolean): void;
  /** Takes no more calls, gives those at work {@link CLOSE_GRACE_MS}, then ends them with UNAVAILABLE. Idempotent. */
  close(): Promise<void>;
}

export const CLOSE_GRACE_MS = 500;
/** What the last answers get to reach their clients before connections are cut. */
const CUT_DELAY_MS = 100;
/** A client sends its first bytes at once; what is quiet for longer is no client. */
const FIRST_BYTES_TIMEOUT_MS = 10_000;
/** Quiet connections are probed after this long, so that those of vanished clients do not stay for ever. */
const KEEP_ALIVE_DELAY_MS = 60_000;

/** @throws ThermoclineError FAILED_PRECONDITION when the address is taken or cannot be bound */
export async function startServer(
  address: Address,
  dependencies: InferenceDependencies,
): Promise<PublicServer> {
  const health = new Health([InferenceService.typeName]);
  const routes = (router: ConnectRouter) => {
    router.service(InferenceService, inferenceService(dependencies));
    router.service(HealthDescription, health.service);
    addReflection(router, [InferenceService, HealthDescription]);
  };
  const cut = new AbortController();
  const listener = connectListener(routes, cut.signal, dependencies.log);
  const http1 = createHttp1Server(
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS },
    listener,
  );
  const http2 = createHttp2Server(listener);
  muxPort(http1, http2, FIRST_BYTES_TIMEOUT_MS);

  const sockets = new Set<Socket>();
  http1.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  const sessions = new Set<ServerHttp2Session>();
  http2.on("session", (session) => {
    sessions.add(session);
    session.once("close", () => sessions.delete(session));
  });

  const shutDown = async () => {
    health.close();
    // Its listening socket is everybody's, so it is closed when the last connection is, of either protocol.
    const closed = new Promise<void>((resolve) => http1.close(() => resolve()));
    for (const session of sessions) session.close();
    const endCalls = setTimeout(() => {
      cut.abort(new ThermoclineError("UNAVAILABLE", "the server is shutting down"));
    }, CLOSE_GRACE_MS);
    const endConnections = setTimeout(() => {
      for (const socket of sockets) socket.destroy();
    }, CLOSE_GRACE_MS + CUT_DELAY_MS);
    await closed;
    clearTimeout(endCalls);
    clearTimeout(endConnections);
  };
  let closing: Promise<void> | null = null;
  return {
    address: await listen(http1, address),
    setServing: (serving) => health.setServing(serving),
    close: () => {
      closing ??= shutDown();
      return closing;
    },
  };
}
