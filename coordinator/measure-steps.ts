/** Steps as a server runs them for one request, with what passes between them. */
import { ROOT_CONTEXT } from "@opentelemetry/api";
import type { StepRow } from "../native/index.js";
import type { ExecutorGroup } from "./executors/group.js";
import type { MeasuredStep } from "./machine-fit.js";
import { WeightStream } from "./model/synth/random.js";
import type { Tokenizer } from "./model/tokenizer.js";
import { Batcher } from "./schedule/batcher.js";
import type { SamplingParams } from "./schedule/generation.js";
import type { StepResult, StepRunner } from "./schedule/step.js";
import { NOOP_OBSERVER } from "./telemetry/noop.js";
import { timingRecords } from "./telemetry/step-records.js";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1, seed: 0n };

export interface MeasureStepsOptions {
  tokenizer: Tokenizer;
  vocab: number;
  /** Steps to run. */
  count: number;
  signal: AbortSignal;
}

/**
 * Generates on executors that are ready, by greedy sampling, though every step reads a random token: the model may be
 * cut, and what it says then need not be like a text.
 *
 * @param group has room for `count` + 1 positions
 * @throws ThermoclineError as executors do; CANCELLED when the signal is aborted
 */
export async function measureSteps(
  group: ExecutorGroup,
  { tokenizer, vocab, count, signal }: MeasureStepsOptions,
): Promise<MeasuredStep[]> {
  const runner = new StepRecorder(group, vocab);
  const batcher = new Batcher(runner, tokenizer, NOOP_OBSERVER);
  try {
    const events = batcher.generate({
      arrivedAt: performance.now(),
      promptTokens: [0],
      maxTokens: count,
      sampling: GREEDY,
      stop: [],
      topLogprobs: 0,
      logprobs: false,
      layerSummary: false,
      ignoreEos: true,
      signal,
      traceContext: ROOT_CONTEXT,
    });
    for await (const { kind } of events) if (kind === "summary") break;
  } finally {
    await batcher.close();
  }
  return runner.steps();
}

/** Gives random tokens to the steps, and remembers how they went. */
class StepRecorder implements StepRunner {
  private readonly recorded: (Omit<MeasuredStep, "records" | "turnNs"> &
    Pick<StepResult, "step" | "timings">)[] = [];
  private readonly tokens = new WeightStream(0n, "tokens");

  constructor(
    private readonly group: ExecutorGroup,
    private readonly vocab: number,
  ) {}

  get limits() {
    return this.group.limits;
  }

  get cacheEpoch() {
    return this.group.cacheEpoch;
  }

  ready(): Promise<void> {
    return this.group.ready();
  }

  async run(rows: readonly StepRow[]): Promise<StepResult> {
    const result = await this.group.run(
      rows.map((row) => ({ ...row, token: this.tokens.below(this.vocab) })),
    );
    const { step, startNs, endNs, timings } = result;
    const schedule = this.group.placement?.schedule;
    // Records are made of them afterwards: here it would take time between steps.
    if (schedule !== undefined)
      this.recorded.push({ step, schedule, startNs, endNs, timings: timings.slice() });
    return result;
  }

  steps(): MeasuredStep[] {
    return this.recorded.map(({ step, schedule, startNs, endNs, timings }, index) => ({
      ...{ schedule, startNs, endNs, records: timingRecords({ step, timings }) },
      turnNs: startNs - (this.recorded[index - 1]?.endNs ?? startNs),
    }));
  }
}
