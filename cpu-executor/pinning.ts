/** Which CPU each thread is pinned to. */
import { allowedCpus, parseCpuList } from "../native/cpus.js";
import { ThermoclineError } from "../proto/errors.js";

/**
 * Reads `auto`, `none` or a list such as `0,2,4-7`. `auto` pins thread i to the i-th CPU this process may run on where
 * there is one for each thread, and pins nothing otherwise. Several executors on one machine must be given lists, or
 * they would share CPUs.
 *
 * @returns as many CPU numbers as threads, or none
 * @throws ThermoclineError INVALID_ARGUMENT
 */
export function pinning(text: string, threads: number, allowed: () => number[] = allowedCpus): number[] {
  if (text === "none") return [];
  if (text === "auto") {
    const cpus = allowed();
    return cpus.length >= threads ? cpus.slice(0, threads) : [];
  }
  const cpus = parseCpuList(text);
  if (cpus === null) {
    throw invalid(`--pin is "${text}"; give auto, none, or CPU numbers such as 0,2,4-7`);
  }
  if (cpus.length !== threads) throw invalid(`--pin names ${cpus.length} CPUs for ${threads} threads`);
  const missing = cpus.find((cpu) => !allowed().includes(cpu));
  if (missing !== undefined) throw invalid(`--pin names CPU ${missing}, on which this process may not run`);
  return cpus;
}

function invalid(message: string): ThermoclineError {
  return new ThermoclineError("INVALID_ARGUMENT", message);
}
