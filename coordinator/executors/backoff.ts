/** Waiting between attempts. */
import { setTimeout as delay } from "node:timers/promises";

const FIRST_MS = 100;
const MOST_MS = 5000;

/** 0 after no failure, then 100 ms, doubled with each failure in a row, at most 5 s. */
export function backoffMs(failuresInARow: number): number {
  return failuresInARow === 0 ? 0 : Math.min(FIRST_MS * 2 ** (failuresInARow - 1), MOST_MS);
}

/** Waits; rejects with the signal's reason when it aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  try {
    await delay(ms, null, { signal });
  } catch {
    throw signal.reason;
  }
}
