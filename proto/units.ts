/** Sizes and durations as people write and read them. */
import { ThermoclineError } from "./errors.js";

const UNITS = ["B", "KiB", "MiB", "GiB", "TiB"] as const;

/** `1536` becomes "1.50 KiB". */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${UNITS[unit]}`;
}

/** `0.0123` becomes "12.3 ms". */
export function formatSeconds(seconds: number): string {
  if (seconds < 1e-3) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(1)} ms`;
  return `${seconds.toFixed(1)} s`;
}

/**
 * Reads "512MiB", "8 GiB", "8g" or "1073741824"; K, M, G and T mean powers of 1024.
 * @param option the option's name, for the error
 * @throws ThermoclineError INVALID_ARGUMENT
 */
export function parseBytes(text: string, option: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(text);
  const exponent = " kmgt".indexOf(match?.[2]?.toLowerCase() || " ");
  const bytes = match === null ? Number.NaN : Math.floor(Number(match[1]) * 1024 ** exponent);
  if (!Number.isSafeInteger(bytes)) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `${option} is "${text}"; give a size such as 512MiB, 8GiB or 8589934592`,
    );
  }
  return bytes;
}
