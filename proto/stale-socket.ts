/** Socket files that a killed server left where the next one wants to listen. */
import { lstatSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { isErrno } from "./errno.js";

/** Longest wait for an answer from whoever may hold the socket. */
const PROBE_TIMEOUT_MS = 500;

/** Removes the Unix socket at `path` if nobody answers at it; whatever else is there stays. */
export async function removeStaleSocket(path: string): Promise<void> {
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
