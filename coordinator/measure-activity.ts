/** How many neurons a model activates, found by running it on executors of its own. */
import type { StepRow } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import { ActivityCounts, type LayerCounts } from "./activity-counts.js";
import { BUILT_ENTRIES, type ExecutorEntries, type ExecutorOptions, withExecutors } from "./execution.js";
import { createLog } from "./log.js";
import type { Model } from "./model/model.js";
import { withPredictor } from "./model/predictor.js";
import { WeightStream } from "./model/synth/random.js";
import type { StepLimits } from "./schedule/step.js";

/** Sequences of random tokens, a step each. */
const SEQUENCES = 4;
const MOST_TOKENS_A_SEQUENCE = 32;

/** Shares of a layer's neurons, means over all tokens. */
export interface LayerActivity {
  layer: number;
  /** Neurons whose gates fire; 1 where the activation leaves none out. */
  firing: number;
  predictor: {
    /** What it takes for active. */
    predicted: number;
    /**
     * Of the neurons that fire, those it takes for active: those that fired with it over those that fired without.
     * Later layers' inputs differ a little between the two runs, so it may exceed 1 by as much.
     */
    recall: number;
  } | null;
}

export interface Activity {
  /** Tokens it was measured over. */
  tokens: number;
  layers: LayerActivity[];
}

export interface MeasureOptions {
  entries?: ExecutorEntries;
  signal: AbortSignal | null;
}

/**
 * Runs the model on random tokens; one with predictors twice, with and without them.
 *
 * @throws ThermoclineError as executors do; DATA_LOSS when the model computes numbers that are none
 */
export async function measureActivity(
  model: Model,
  { entries = BUILT_ENTRIES, signal }: MeasureOptions,
): Promise<Activity> {
  const sequences = randomSequences(model);
  const tokens = sequences.reduce((sum, sequence) => sum + sequence.length, 0);
  const sparse = await run(withPredictor(model, "off"), sequences, entries, signal);
  const predicted = model.hasPredictor ? await run(model, sequences, entries, signal) : null;
  const pairs = tokens * model.shape.ff;
  const layers = sparse.map(({ fired }, layer): LayerActivity => {
    const found = predicted?.[layer];
    return {
      layer,
      firing: fired / pairs,
      predictor:
        found === undefined || found.predicted === 0
          ? null
          : { predicted: found.predicted / pairs, recall: found.fired / fired },
    };
  });
  return { tokens, layers };
}

async function run(
  model: Model,
  sequences: readonly number[][],
  entries: ExecutorEntries,
  signal: AbortSignal | null,
): Promise<readonly LayerCounts[]> {
  const longest = Math.max(...sequences.map((sequence) => sequence.length));
  const limits: StepLimits = { maxRows: longest, maxLogitRows: 1, slots: 1, contextLength: longest };
  const options: ExecutorOptions = {
    gpu: "off",
    vramBudgetBytes: null,
    cpuExecutors: 1,
    threads: null,
    repack: true,
    placementPath: null,
    executorAddresses: [],
  };
  const log = createLog("measure", "warn");
  const unwatched = { profile: null, observation: "none", onState: () => undefined } as const;
  return withExecutors({ model, options, limits, entries, log, signal, ...unwatched }, async (group) => {
    const counts = new ActivityCounts(model.shape);
    for (const sequence of sequences) {
      const { logits, timings } = await group.run(rowsOf(sequence));
      if (logits.some((row) => !row.every(Number.isFinite))) {
        throw new ThermoclineError(
          "DATA_LOSS",
          `${model.path}: its logits are not finite numbers; write it again with other options`,
        );
      }
      counts.add(timings, sequence.length);
    }
    return counts.layers;
  });
}

/** The same for every model of a vocabulary's size. */
function randomSequences({ shape, trainedContextLength }: Model): number[][] {
  const length = Math.min(MOST_TOKENS_A_SEQUENCE, trainedContextLength);
  const stream = new WeightStream(0n, "tokens");
  return Array.from({ length: SEQUENCES }, () => Array.from({ length }, () => stream.below(shape.vocab)));
}

function rowsOf(tokens: readonly number[]): StepRow[] {
  return tokens.map((token, position) => ({
    token,
    position,
    slot: 0,
    wantsLogits: position === tokens.length - 1,
  }));
}
