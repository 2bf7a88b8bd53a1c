/** Where a server listens: `unix:/path` or `host:port`, in the words of gRPC target names. */
import { isIPv6 } from "node:net";
import { resolve } from "node:path";
import { ThermoclineError } from "./errors.js";

export type Address = { kind: "unix"; path: string } | { kind: "tcp"; host: string; port: number };

/** Longest path of a Unix socket, in bytes: sockaddr_un's `sun_path` less its terminating zero. */
const MAX_SOCKET_PATH_BYTES = 107;

/**
 * Reads `unix:/path`, `host:port` or `[ipv6]:port`. A relative path counts from the working directory.
 * @param option the option's name, for the error
 * @throws ThermoclineError INVALID_ARGUMENT
 */
export function parseAddress(text: string, option: string): Address {
  const unix = /^unix:(?:\/\/(?=\/))?(.+)$/.exec(text)?.[1];
  if (unix !== undefined) return unixAddress(resolve(unix));
  const [, bracketed, plain, digits] = /^(?:\[([^\]]+)\]|([^:/\s]+)):(\d{1,5})$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  const port = Number(digits);
  if (host === undefined || port > 65535 || (bracketed !== undefined && !isIPv6(bracketed))) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `${option} is "${text}"; give unix:/path/to/socket or host:port, such as 127.0.0.1:50060`,
    );
  }
  return { kind: "tcp", host, port };
}

/** @throws ThermoclineError INVALID_ARGUMENT when the path is longer than a Unix socket's can be */
export function unixAddress(path: string): Address {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `the socket path ${path} has ${bytes} bytes, and a Unix socket's can have at most ${MAX_SOCKET_PATH_BYTES}; ` +
        "choose a shorter folder",
    );
  }
  return { kind: "unix", path };
}

/** The inverse of {@link parseAddress}; also a gRPC target. */
export function formatAddress(address: Address): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  return `${isIPv6(address.host) ? `[${address.host}]` : address.host}:${address.port}`;
}
