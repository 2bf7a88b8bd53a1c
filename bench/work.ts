/** What steps touched: weights and neurons, and what that says about the memory's speed. */
import { type Figure, singleFigure } from "./benchmark.js";
import type { RecordedStep } from "./recording-runner.js";
import { timingRecords } from "./timing-records.js";

/** Means over the tokens of some steps. */
export interface TokenWork {
  /** Weight bytes read for a token. */
  bytes: number;
  /** Neurons that fired for a token, over all layers. */
  active: number;
  /** Neurons of the model. */
  neurons: number;
}

/** @param tokens that the steps computed, all of them together */
export function tokenWork(steps: readonly RecordedStep[], tokens: number): TokenWork {
  const sums = { bytes: 0, active: 0, placed: 0 };
  for (const record of steps.flatMap(timingRecords)) {
    sums.bytes += record.bytes;
    if (record.phase !== "hot" && record.phase !== "cold") continue;
    sums.active += record.active;
    sums.placed += record.placed;
  }
  return {
    bytes: sums.bytes / tokens,
    active: sums.active / tokens,
    neurons: sums.placed / steps.length,
  };
}

/** @param readBytesPerS what the memory gives to as many threads; null where weights lie in a card's as well */
export function workFigures(
  where: string,
  work: TokenWork,
  tokensPerS: number,
  readBytesPerS: number | null,
): Figure[] {
  return [
    ...readFigures(where, work.bytes, tokensPerS, readBytesPerS),
    singleFigure(`active neurons a token, ${where}`, `of ${work.neurons}`, work.active),
  ];
}

/** What reading `bytesPerToken` at this speed makes of the memory's. */
export function readFigures(
  where: string,
  bytesPerToken: number,
  tokensPerS: number,
  readBytesPerS: number | null,
): Figure[] {
  const reached = tokensPerS * bytesPerToken;
  return [
    singleFigure(`weights read a token, ${where}`, "MB", bytesPerToken / 1e6),
    singleFigure(`weights read, ${where}`, "GB/s", reached / 1e9),
    ...(readBytesPerS === null
      ? []
      : [singleFigure(`share of the memory's bandwidth, ${where}`, "%", (100 * reached) / readBytesPerS)]),
  ];
}
