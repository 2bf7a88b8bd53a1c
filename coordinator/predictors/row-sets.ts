/** Which windows of a text train predictors, which set their margins, and which tell how good they are. */
import type { ModelShape } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { formatBytes } from "../../proto/units.js";
import type { RowSet } from "./work-folder.js";

/** Of ten windows eight train; which ones moves on, since windows of several texts take turns. */
const PERIOD = 10;
export const LEAST_WINDOWS = 3;

export function rowSetOf(window: number, windows: number): RowSet {
  const period = Math.min(PERIOD, windows);
  const at = (window + Math.floor(window / period)) % period;
  if (at === period - 1) return "test";
  return at === period - 2 ? "calibration" : "training";
}

/** Of one row of one layer: float32 inputs and whole words of fired bits. */
export function recordBytes({ embd, ff }: Pick<ModelShape, "embd" | "ff">): number {
  return embd * 4 + Math.ceil(ff / 64) * 8;
}

/** More make no better predictors of small models. */
const MOST_DEFAULT_TOKENS = 131_072;

/**
 * How many windows to read.
 *
 * @param tokens what was asked for; null takes as many as the disk may hold, up to 131072
 * @throws ThermoclineError RESOURCE_EXHAUSTED when they take more than the disk may hold, or there is no room for them
 */
export function windowsToRead(options: {
  tokens: number | null;
  contextLength: number;
  bytesPerToken: number;
  diskBytes: number;
  /** For activations. */
  freeBytes: number;
}): number {
  const { tokens, contextLength, bytesPerToken, diskBytes, freeBytes } = options;
  const fits = Math.floor(Math.min(diskBytes, freeBytes) / bytesPerToken);
  const wanted = tokens ?? Math.min(MOST_DEFAULT_TOKENS, fits);
  const windows = Math.max(LEAST_WINDOWS, Math.ceil(wanted / contextLength));
  const bytes = windows * contextLength * bytesPerToken;
  const refuse = (limit: string) =>
    new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `the activations of ${windows * contextLength} tokens take ${formatBytes(bytes)}, ${formatBytes(bytesPerToken)} ` +
        `each, and ${limit}; give fewer --tokens or --layers`,
    );
  if (bytes > diskBytes) throw refuse(`--disk allows ${formatBytes(diskBytes)}`);
  if (bytes > freeBytes)
    throw refuse(`${formatBytes(freeBytes)} are free there, beside the model to be written`);
  return windows;
}
