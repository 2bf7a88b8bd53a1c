/** What a server does with options nobody gave; the benchmarks run with the same. */
import { ThermoclineError } from "../proto/errors.js";
import type { Model } from "./model/model.js";
import { wholeModelBytes } from "./placement/place.js";
import type { ServingSizes } from "./placement/sizes.js";
import type { StepLimits } from "./schedule/step.js";

export const DEFAULT_SLOTS = 4;
export const DEFAULT_TRACE_RATIO = 1;

/** KV cache grows with the context; more than this must be asked for. */
const DEFAULT_MOST_CONTEXT = 4096;
/** Rows of a prompt chunk: enough to read a layer's weights once for many tokens, short enough to keep decoding. */
const MAX_ROWS = 64;
/** The host device simulates a card that holds this share of the model, so that both sides have work. */
const HOST_BUDGET_SHARE = 0.5;

/**
 * @param contextLength null takes the model's, up to 4096 positions
 * @throws ThermoclineError INVALID_ARGUMENT for a context the model was not made for
 */
export function limitsFor(
  model: Model,
  { slots, contextLength }: { slots: number; contextLength: number | null },
): StepLimits & ServingSizes {
  const trained = model.trainedContextLength;
  if (contextLength !== null && contextLength > trained) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `--ctx is ${contextLength}, and ${model.name} was trained on ${trained} positions; give at most that`,
    );
  }
  return {
    maxRows: Math.max(MAX_ROWS, slots),
    maxLogitRows: slots,
    slots,
    contextLength: contextLength ?? Math.min(trained, DEFAULT_MOST_CONTEXT),
  };
}

/** Memory of the host device when nobody says how much, in bytes. */
export function hostBudgetBytes(model: Model, sizes: ServingSizes): number {
  return Math.ceil(wholeModelBytes(model, sizes) * HOST_BUDGET_SHARE);
}
