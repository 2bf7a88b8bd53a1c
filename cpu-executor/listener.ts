/** Binds a gRPC server to its address, and leaves no socket file behind. */
import { lstatSync, rmdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { dirname } from "node:path";
import { type Server, ServerCredentials } from "@grpc/grpc-js";
import { type Address, formatAddress } from "../proto/address.js";
import { ThermoclineError } from "../proto/errors.js";

/** Longest wait for an answer from whoever may hold the socket already. */
const PROBE_TIMEOUT_MS = 500;

/**
 * @returns the address that was bound; port 0 is replaced by the one the system chose
 * @throws ThermoclineError FAILED_PRECONDITION when the address is taken or cannot be bound
 */
export async function listen(server: Server, address: Address): Promise<Address> {
  if (address.kind === "unix") await removeStaleSocket(address.path);
  // The socket takes its mode from the umask: nobody else may give this process orders.
  const umask = process.umask(0o177);
  try {
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(formatAddress(address), ServerCredentials.createInsecure(), (error, bound) =>
        error === null ? resolve(bound) : reject(error),
      );
    });
    return address.kind === "unix" ? address : { ...address, port };
  } catch (error) {
    // grpc-js wraps what the system said in words of its own.
    const reason = String(error instanceof Error ? error.message : error).replace(
      /^.*errors: \[(.*)\]$/,
      "$1",
    );
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `cannot listen at ${formatAddress(address)}: ${reason}; free it or give another --listen`,
    );
  } finally {
    process.umask(umask);
  }
}

/** Removes the socket file; with `folderToo`, its folder as well if that is empty then. */
export function removeSocket(address: Address, folderToo: boolean): void {
  if (address.kind !== "unix") return;
  rmSync(address.path, { force: true });
  if (!folderToo) return;
  try {
    rmdirSync(dirname(address.path));
  } catch (error) {
    // Another executor's socket is still in it (the last to go removes the folder), or it has gone already.
    if (!isErrno(error, "ENOTEMPTY") && !isErrno(error, "ENOENT")) throw error;
  }
}

/** A process that was killed leaves its socket file, at which nobody answers; a living one answers. */
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
