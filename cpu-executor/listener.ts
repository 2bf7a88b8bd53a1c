/** Binds a gRPC server to its address, and leaves no socket file behind. */
import { rmdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { type Server, ServerCredentials } from "@grpc/grpc-js";
import { type Address, formatAddress } from "../proto/address.js";
import { isErrno } from "../proto/errno.js";
import { ThermoclineError } from "../proto/errors.js";
import { removeStaleSocket } from "../proto/stale-socket.js";

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
