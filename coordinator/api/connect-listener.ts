/** Connect's handlers as a request listener of Node's HTTP servers. */
import { setMaxListeners } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import { Code, ConnectError, type ConnectRouter, createConnectRouter } from "@connectrpc/connect";
import type { UniversalServerResponse } from "@connectrpc/connect/protocol";
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { Logger } from "pino";

/** Largest request message, gRPC's customary limit. */
const MOST_REQUEST_BYTES = 4 * 1024 * 1024;

export type Listener = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void;

/**
 * In place of connect-node's own adapter, which lets a request without a Host header end the process and writes to
 * the console.
 * @param shutdownSignal ends all calls with its reason when aborted
 */
export function connectListener(
  routes: (router: ConnectRouter) => void,
  shutdownSignal: AbortSignal,
  log: Logger,
): Listener {
  // Every call listens to it.
  setMaxListeners(0, shutdownSignal);
  const router = createConnectRouter({
    shutdownSignal,
    readMaxBytes: MOST_REQUEST_BYTES,
    acceptCompression: [compressionGzip, compressionBrotli],
  });
  routes(router);
  const handlers = new Map(router.handlers.map((handler) => [handler.requestPath, handler]));

  const serve: (...call: Parameters<Listener>) => Promise<void> = async (request, response) => {
    const path = request.url?.split("?", 1)[0] ?? "";
    const handler = handlers.get(path);
    if (handler === undefined) return refuse(response, 404, `there is nothing at ${path}`);
    if (!hasAuthority(request)) return refuse(response, 400, "the request has no usable Host header");
    const answer = await handler(universalRequestFromNodeRequest(request, response, undefined, undefined));
    await universalResponseToNodeResponse(withReadableStatus(answer), response);
  };
  return (request, response) => {
    serve(request, response).catch((error: unknown) => {
      // Whatever a handler throws is part of its answer; what arrives here befell the connection.
      const { code, rawMessage } = ConnectError.from(error);
      if (code === Code.Aborted || code === Code.Canceled) return;
      log.warn({ err: error }, `the connection of a request was lost: ${rawMessage}`);
      response.destroy();
    });
  };
}

/**
 * Connect escapes more of a status message than gRPC asks for, and grpc-js does not undo all of it: its callers would
 * read "%2C" for every comma.
 */
function withReadableStatus(answer: UniversalServerResponse): UniversalServerResponse {
  const { trailer } = answer;
  if (trailer === undefined) return answer;
  return {
    ...answer,
    // Read once the body has ended; there is no status before.
    get trailer() {
      const message = decodeURIComponent(trailer.get("grpc-message") ?? "");
      if (message !== "") trailer.set("grpc-message", message.replace(/[^ -~]|%/gu, encodeURIComponent));
      return trailer;
    },
  };
}

function hasAuthority(request: IncomingMessage | Http2ServerRequest): boolean {
  const authority = "authority" in request ? request.authority : request.headers.host;
  return authority !== undefined && URL.canParse(`http://${authority}${request.url}`);
}

function refuse(response: ServerResponse | Http2ServerResponse, status: number, why: string): void {
  response.writeHead(status, { "content-type": "text/plain; charset=utf-8" });
  response.end(`${why}\n`);
}
