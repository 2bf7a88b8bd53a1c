/** HTTP/1.1 and HTTP/2 without TLS on one port, told apart by a connection's first bytes. */
import type { Server as Http1Server } from "node:http";
import type { Http2Server } from "node:http2";
import type { Socket } from "node:net";

/** What every HTTP/2 client with prior knowledge sends first (RFC 9113, section 3.4). */
const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/**
 * Makes `http1`, which listens, hand connections that speak HTTP/2 to `http2`, which does not. The listener must be
 * the HTTP/1.1 server itself: only then does Node apply its timeouts to requests that never end.
 * @param timeoutMs how long a connection may take to show what it speaks
 */
export function muxPort(http1: Http1Server, http2: Http2Server, timeoutMs: number): void {
  const takers = http1.listeners("connection") as ((socket: Socket) => void)[];
  http1.removeAllListeners("connection");
  http1.on("connection", (socket: Socket) => {
    sniff(socket, timeoutMs, (speaksHttp2) => {
      if (speaksHttp2) {
        // An HTTP/1.1 client may close its side and still read the answer; of an HTTP/2 client that is the end.
        socket.allowHalfOpen = false;
        http2.emit("connection", socket);
      } else for (const take of takers) take.call(http1, socket);
    });
  });
}

/** Reads as much as it takes to know, and puts it back. A connection that ends before that is closed. */
function sniff(socket: Socket, timeoutMs: number, decide: (speaksHttp2: boolean) => void): void {
  let seen: Buffer = Buffer.alloc(0);
  const drop = () => socket.destroy();
  const timer = setTimeout(drop, timeoutMs);
  const stop = () => {
    clearTimeout(timer);
    socket.off("readable", onReadable).off("end", drop).off("error", drop).off("close", stop);
  };
  const onReadable = () => {
    const chunk: Buffer | null = socket.read();
    if (chunk === null) return;
    seen = Buffer.concat([seen, chunk]);
    const length = Math.min(seen.length, PREFACE.length);
    const speaksHttp2 = seen.subarray(0, length).equals(PREFACE.subarray(0, length));
    if (speaksHttp2 && length < PREFACE.length) return;
    stop();
    socket.unshift(seen);
    decide(speaksHttp2);
  };
  socket.on("readable", onReadable).on("end", drop).on("error", drop).on("close", stop);
}
