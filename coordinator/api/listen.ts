/** Binding a server to its address. */
import { lstatSync, rmSync } from "node:fs";
import { connect, type Server } from "node:net";
import { type Address, formatAddress } from "../../proto/address.js";
import { ThermoclineError } from "../../proto/errors.js";

/** Longest wait for an answer from whoever may hold the socket already. */
const PROBE_TIMEOUT_MS = 500;

/**
 * @returns the address that was bound; port 0 is replaced by the one the system chose
 * @throws ThermoclineError FAILED_PRECONDITION when the address is taken or cannot be bound
 */
export async function listen(server: Server, address: Address): Promise<Address> {
  if (address.kind === "unix") await removeStaleSocket(address.path);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address, () => {
        server.off("error", reject);
        resolve();
      });
    });
  } catch (error) {
    const reason = isErrno(error, "EADDRINUSE") ? "something else listens there" : String(error);
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `cannot listen at ${formatAddress(address)}: ${reason}; free it or give another --listen`,
      { cause: error },
    );
  }
  const bound = server.address();
  return address.kind === "tcp" && bound !== null && typeof bound === "object"
    ? { ...address, port: bound.port }
    : address;
}

/** A server that was killed leaves its socket file, at which nobody answers. */
async function removeStaleSocket(path: string): Promise<void> {
  if (lstatSync(path, { throwIfNoEntry: false })?.isSocket() !== true) return;
  const refused = await new Promise<boolean>((resolve) => {
    const probe = connect(path);
    const settle = (isRefused: boolean) => {
      probe.destroy();
      resolve(isRefused);
    };
    probe.setTimeout(PROBE_TIMEOUT_MS, () => settle(false));
    probe.once("connect", () => settle(false));
    probe.once("error", (error) => settle(isErrno(error, "ECONNREFUSED")));
  });
  if (refused) rmSync(path, { force: true });
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
