/** How much memory the host device may use when it stands in for a card. */
import { totalmem } from "node:os";
import { ThermoclineError } from "../proto/errors.js";
import { parseBytes } from "../proto/units.js";

/** The host device takes ordinary memory away from everybody else, so by default it takes a modest share. */
const AUTO_SHARE = 1 / 4;
const AUTO_MOST_BYTES = 1024 ** 3;

/**
 * Reads `--vram-budget`.
 * @throws ThermoclineError INVALID_ARGUMENT
 */
export function vramBudget(text: string, memoryBytes: number = totalmem()): number {
  if (text === "auto") return Math.min(Math.floor(memoryBytes * AUTO_SHARE), AUTO_MOST_BYTES);
  const bytes = parseBytes(text, "--vram-budget");
  if (bytes === 0) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      "--vram-budget is 0, which holds nothing; give a size such as 512MiB, or run without a GPU executor",
    );
  }
  return bytes;
}
