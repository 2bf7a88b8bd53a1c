/** How many neurons a model activates, found by running it on executors of its own. */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { PHASES, type StepRow } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import { ExecutorGroup, GROUP_DEFAULTS } from "./executors/group.js";
import { planExecutors } from "./executors/spawn-plan.js";
import { createLog, relay } from "./log.js";
import type { Model } from "./model/model.js";
import { WeightStream } from "./model/synth/random.js";
import { place } from "./placement/place.js";
import type { StepLimits } from "./schedule/step.js";
import { FIELD, field, RECORD_WIDTH } from "./telemetry/timing-records.js";

/** Sequences of random tokens, a step each. */
const SEQUENCES = 4;
const MOST_TOKENS_A_SEQUENCE = 32;
/** Prompt rows of a large model take minutes on a slow machine, and whoever waits can interrupt. */
const STEP_TIMEOUT_MS = 3_600_000;

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
  /** The CPU executor's program. */
  entry?: string;
  signal: AbortSignal | null;
}

/**
 * Runs the model on random tokens; one with predictors twice, with and without them.
 *
 * @throws ThermoclineError as executors do; DATA_LOSS when the model computes numbers that are none
 */
export async function measureActivity(
  model: Model,
  { entry = executorEntry(), signal }: MeasureOptions,
): Promise<Activity> {
  const sequences = randomSequences(model);
  const tokens = sequences.reduce((sum, sequence) => sum + sequence.length, 0);
  const sparse = await run(withoutPredictors(model), sequences, entry, signal);
  const predicted = model.hasPredictor ? await run(model, sequences, entry, signal) : null;
  const pairs = tokens * model.shape.ff;
  const layers = sparse.map(({ fired }, layer): LayerActivity => {
    const found = predicted?.[layer];
    return {
      layer,
      firing: fired / pairs,
      predictor:
        found === undefined ? null : { predicted: found.predicted / pairs, recall: found.fired / fired },
    };
  });
  return { tokens, layers };
}

/** (row, neuron) pairs of one layer. */
interface Counts {
  fired: number;
  predicted: number;
}

async function run(
  model: Model,
  sequences: readonly number[][],
  entry: string,
  signal: AbortSignal | null,
): Promise<Counts[]> {
  const longest = Math.max(...sequences.map((sequence) => sequence.length));
  const limits: StepLimits = { maxRows: longest, maxLogitRows: 1, slots: 1, contextLength: longest };
  const log = createLog("measure", "warn");
  const options = { gpu: "off", vramBudgetBytes: 0, cpuExecutors: 1, threads: null, repack: true } as const;
  const group = new ExecutorGroup({
    ...GROUP_DEFAULTS,
    stepTimeoutMs: STEP_TIMEOUT_MS,
    executors: planExecutors(options, "off").map(({ name, kind, args }) => ({
      name,
      source: { kind: "spawn", executor: kind, entry, args: [...args, "--log-level", "warn"] },
    })),
    model,
    limits,
    plan: (executors) => place(model, executors, limits, null),
    log,
    onExecutorLog: (executor, line) => relay(log, executor, line),
    onState: () => undefined,
  });
  const close = () => void group.close();
  signal?.addEventListener("abort", close, { once: true });
  try {
    signal?.throwIfAborted();
    await group.open();
    const counts = Array.from({ length: model.shape.layers }, () => ({ fired: 0, predicted: 0 }));
    for (const sequence of sequences) {
      const { logits, timings } = await group.run(rowsOf(sequence));
      if (logits.some((row) => !row.every(Number.isFinite))) {
        throw new ThermoclineError(
          "DATA_LOSS",
          `${model.path}: its logits are not finite numbers; write it again with other options`,
        );
      }
      addCounts(timings, counts);
    }
    return counts;
  } finally {
    signal?.removeEventListener("abort", close);
    await group.close();
  }
}

function addCounts(timings: Float64Array, counts: Counts[]): void {
  for (let at = 0; at + RECORD_WIDTH <= timings.length; at += RECORD_WIDTH) {
    const layer = counts[field(timings, at, FIELD.layer)];
    if (layer === undefined) continue;
    const phase = PHASES[field(timings, at, FIELD.phase)];
    const active = field(timings, at, FIELD.active);
    if (phase === "predict") layer.predicted += active;
    else if (phase === "hot" || phase === "cold") layer.fired += active;
  }
}

function withoutPredictors(model: Model): Model {
  const tensors = model.tensors.filter(({ name }) => !/\.fc[12]\.weight$/.test(name));
  return { ...model, tensors, hasPredictor: false };
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

function executorEntry(): string {
  return join(dirname(fileURLToPath(import.meta.url)), "../cpu-executor/main.js");
}
