import { once } from "node:events";
import { createServer as createHttp1Server, get, type Server } from "node:http";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import { type AddressInfo, connect, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { muxPort } from "../../coordinator/api/port-mux.js";

const PREFACE = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

let servers: Server[] = [];
let clients: Socket[] = [];
afterEach(async () => {
  for (const client of clients) client.destroy();
  clients = [];
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  servers = [];
});

/** A port whose two servers answer with what they speak. */
async function start({ sniffMs = 10_000, headersMs = 10_000 } = {}) {
  const http1 = createHttp1Server(
    { headersTimeout: headersMs, connectionsCheckingInterval: 10 },
    (request, response) => {
      request.resume().on("end", () => response.end("HTTP/1.1"));
    },
  );
  const http2 = createHttp2Server((_request, response) => response.end("HTTP/2"));
  muxPort(http1, http2, sniffMs);
  servers.push(http1);
  await new Promise<void>((resolve) => http1.listen(0, "127.0.0.1", resolve));
  const { port } = http1.address() as AddressInfo;
  const open = () =>
    new Promise<number>((resolve) => http1.getConnections((_error, count) => resolve(count)));
  return { port, open };
}

function dial(port: number): Socket {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: true }).on("error", () => undefined);
  clients.push(socket);
  return socket;
}

/** All that comes until the server closes its side. */
async function readAll(socket: Socket): Promise<string> {
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

async function http1Body(port: number): Promise<string> {
  return (await fetch(`http://127.0.0.1:${port}/`)).text();
}

async function http2Body(port: number): Promise<string> {
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  try {
    const stream = session.request({ ":path": "/" });
    let text = "";
    for await (const chunk of stream) text += String(chunk);
    return text;
  } finally {
    session.close();
  }
}

const expectAlive = async (port: number) => {
  expect(await http1Body(port)).toBe("HTTP/1.1");
  expect(await http2Body(port)).toBe("HTTP/2");
};

test("both protocols are served on one port", async () => {
  const { port } = await start();
  await expectAlive(port);
});

test("a kept-alive HTTP/1.1 connection serves several requests", async () => {
  const { port } = await start();
  const socket = dial(port);
  socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
  expect((await readAll(socket)).match(/HTTP\/1\.1 200 OK/g)).toHaveLength(2);
});

test("bytes that come one at a time are enough", async () => {
  const { port } = await start();
  const socket = dial(port).setNoDelay(true);
  await once(socket, "connect");
  // A method that begins like the preface.
  for (const byte of "PROPFIND / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") {
    socket.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(await readAll(socket)).toContain("200 OK");

  const slow = dial(port).setNoDelay(true);
  await once(slow, "connect");
  for (const byte of PREFACE) {
    slow.write(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  slow.write(Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]));
  const [settings] = (await once(slow, "data")) as [Buffer];
  expect(settings[3]).toBe(4);
});

test.each([
  ["noise", Buffer.from([0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0xff])],
  ["half a preface and then something else", Buffer.from("PRI * HTTP/3.0\r\n\r\n")],
  ["nothing but line ends", Buffer.alloc(64, "\r\n")],
])("%s gets an error or a closed connection, and the port lives", async (_what, bytes) => {
  const { port, open } = await start();
  const socket = dial(port);
  socket.end(bytes);
  const answer = await readAll(socket);
  expect(answer === "" || answer.startsWith("HTTP/1.1 400")).toBe(true);
  await expect.poll(open).toBe(0);
  await expectAlive(port);
});

test("noise after a good preface ends that connection alone", async () => {
  const { port } = await start();
  const socket = dial(port);
  socket.write(PREFACE);
  socket.write(Buffer.alloc(4096, 0xee));
  await readAll(socket);
  await expectAlive(port);
});

test("a connection that says nothing is closed in time", async () => {
  const { port, open } = await start({ sniffMs: 30 });
  const socket = dial(port);
  expect(await readAll(socket)).toBe("");
  const half = dial(port);
  half.write("PRI * HT");
  expect(await readAll(half)).toBe("");
  await expect.poll(open).toBe(0);
});

test("a connection half-closed before it said what it speaks is closed", async () => {
  const { port, open } = await start();
  const socket = dial(port);
  socket.end("PR");
  expect(await readAll(socket)).toBe("");
  await expect.poll(open).toBe(0);
});

test("a client that half-closes after its request still gets the answer", async () => {
  const { port } = await start();
  const socket = dial(port);
  socket.end("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  expect(await readAll(socket)).toContain("HTTP/1.1 200 OK");
});

test("an HTTP/2 client that half-closes its connection leaves nothing behind", async () => {
  const { port, open } = await start();
  const socket = dial(port);
  socket.end(Buffer.concat([Buffer.from(PREFACE), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]));
  await readAll(socket);
  await expect.poll(open).toBe(0);
});

test("a client that resets its connection disturbs nobody", async () => {
  const { port } = await start();
  for (const bytes of ["", "P", "GET / HT", PREFACE]) {
    const socket = dial(port);
    await once(socket, "connect");
    if (bytes !== "") socket.write(bytes);
    socket.resetAndDestroy();
  }
  await expectAlive(port);
});

test("HTTP/1.1 headers that never end are timed out", async () => {
  const { port } = await start({ headersMs: 30 });
  const socket = dial(port);
  socket.write("GET / HTTP/1.1\r\nHost:");
  expect(await readAll(socket)).toContain("408 Request Timeout");
});

test("closing waits for the connections of both protocols", async () => {
  const { port } = await start();
  const session = connectHttp2(`http://127.0.0.1:${port}`);
  await once(session, "connect");
  const [server] = servers.splice(0);
  let closed = false;
  const closing = new Promise<void>((resolve) =>
    server?.close(() => {
      closed = true;
      resolve();
    }),
  );
  await new Promise((resolve) => get(`http://127.0.0.1:${port}/`).on("error", resolve));
  expect(closed).toBe(false);
  session.close();
  await closing;
});
