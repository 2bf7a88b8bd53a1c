/** The private folder in which the sockets of spawned executors lie. */
import { accessSync, constants, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Creates a folder of mode 0700 under XDG_RUNTIME_DIR, or under the system's temporary folder where that is not set
 * or not ours to write to (as after `su`).
 * @returns its path
 */
export function createRuntimeFolder(): string {
  const { XDG_RUNTIME_DIR } = process.env;
  const parent = XDG_RUNTIME_DIR && isWritable(XDG_RUNTIME_DIR) ? XDG_RUNTIME_DIR : tmpdir();
  return mkdtempSync(join(parent, "thermocline-"));
}

/** Idempotent. */
export function removeRuntimeFolder(path: string): void {
  rmSync(path, { recursive: true, force: true });
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
