/** Binding a server to its address. */
import type { Server } from "node:net";
import { type Address, formatAddress } from "../../proto/address.js";
import { isErrno } from "../../proto/errno.js";
import { ThermoclineError } from "../../proto/errors.js";
import { removeStaleSocket } from "../../proto/stale-socket.js";

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
