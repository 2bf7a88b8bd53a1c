/** Windows of several texts, in equal parts. */
import { ThermoclineError } from "../../proto/errors.js";
import type { Model } from "../model/model.js";
import { textWindows, withEncoder } from "../text/text-windows.js";
import { LEAST_WINDOWS } from "./row-sets.js";

export interface TextOptions {
  model: Model;
  contextLength: number;
  encoderEntry?: URL;
  signal: AbortSignal;
}

/**
 * @param most windows; of each text the first are taken, as many as of every other that has them
 * @throws ThermoclineError as {@link textWindows} does; INVALID_ARGUMENT for texts too short to be divided
 */
export async function readTexts(
  paths: readonly string[],
  most: number,
  { model, contextLength, encoderEntry, signal }: TextOptions,
): Promise<number[][]> {
  const texts = await withEncoder(model, encoderEntry, async (encoding) => {
    const all: number[][][] = [];
    for (const path of paths) {
      all.push(
        await textWindows({
          ...{ path, ...encoding, contextLength, most, signal },
          rest: "dropped",
          limitOption: (windows) => `--tokens ${windows * contextLength}`,
          onTokenizing: () => undefined,
        }),
      );
    }
    return all;
  });
  const windows = inTurn(texts).slice(0, most);
  if (windows.length >= LEAST_WINDOWS) return windows;
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `the texts have ${windows.length} windows of ${contextLength} tokens, and training takes at least ` +
      `${LEAST_WINDOWS}; give longer texts`,
  );
}

/** The first of each, then the second of each, and so on. */
export function inTurn<T>(lists: readonly (readonly T[])[]): T[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, index) =>
    lists.flatMap((list) => list.slice(index, index + 1)),
  ).flat();
}
