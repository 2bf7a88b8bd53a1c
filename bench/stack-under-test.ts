/** A whole stack without its public port: spawned executors, the group that runs steps on them, and the batcher. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { ROOT_CONTEXT } from "@opentelemetry/api";
import { executorSources } from "../coordinator/execution.js";
import type { GpuDevice } from "../coordinator/executors/choose-device.js";
import { ExecutorGroup, GROUP_DEFAULTS } from "../coordinator/executors/group.js";
import { createLog, relay } from "../coordinator/log.js";
import { loadModel } from "../coordinator/model/load-model.js";
import type { Model } from "../coordinator/model/model.js";
import { type PredictorUse, withPredictor } from "../coordinator/model/predictor.js";
import { loadTokenizer } from "../coordinator/model/tokenizer/load-tokenizer.js";
import { cacheFolder } from "../coordinator/placement/plan-cache.js";
import { planFor } from "../coordinator/placement/planner.js";
import { loadProfile } from "../coordinator/placement/profile.js";
import { LIVE_DEFAULTS, LiveRecorder } from "../coordinator/profile/live-recorder.js";
import { Batcher } from "../coordinator/schedule/batcher.js";
import type { GenerationSummary, SamplingParams } from "../coordinator/schedule/generation.js";
import type { StepLimits } from "../coordinator/schedule/step.js";
import { DEFAULT_SLOTS, DEFAULT_TRACE_RATIO, limitsFor } from "../coordinator/serving-defaults.js";
import { createTelemetry, type Telemetry } from "../coordinator/telemetry/telemetry.js";
import { ThermoclineError } from "../proto/errors.js";
import { type RecordedStep, RecordingRunner } from "./recording-runner.js";

/** What hot neurons run on. */
export type Device = "off" | GpuDevice;

export interface StackOptions {
  modelPath: string;
  predictor: PredictorUse;
  device: Device;
  /** Memory of the GPU executor, in bytes; null takes what a card has, and half of what the model needs without one. */
  vramBudgetBytes: number | null;
  /** Of all executors together. */
  threads: number;
  /** URL of an OTLP/gRPC receiver, or null for no telemetry. */
  otlpEndpoint: string | null;
  /** Whether it counts which neurons fire, as `thermocline serve` does where neurons can move. */
  counting: boolean;
}

/** A stack as a benchmark's context asks for it. */
export function stackOptions(
  {
    modelPath,
    predictor,
    threads,
    vramBudgetBytes,
  }: Pick<StackOptions, "modelPath" | "predictor" | "threads" | "vramBudgetBytes">,
  device: Device,
  { otlpEndpoint = null, counting = false }: Partial<Pick<StackOptions, "otlpEndpoint" | "counting">> = {},
): StackOptions {
  // Where there is no card there is nothing to limit.
  const budget = device === "off" ? null : vramBudgetBytes;
  return { modelPath, predictor, threads, device, vramBudgetBytes: budget, otlpEndpoint, counting };
}

/** One request. */
export interface Turn {
  prompt: readonly number[];
  /** Exactly as many are generated; the first of them by the step that ends the prompt. */
  tokens: number;
  sampling: SamplingParams;
  signal: AbortSignal;
}

/** What one request did. */
export interface Generation {
  /** Its steps that read the prompt, in order. */
  prefill: RecordedStep[];
  /** Its steps that decoded, in order: each took one row. */
  steps: RecordedStep[];
  summary: GenerationSummary;
}

export const GREEDY: SamplingParams = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  repeatPenalty: 1,
  seed: 7n,
};
export const SAMPLED: SamplingParams = { ...GREEDY, temperature: 0.8, topP: 0.95 };

export const PROMPT = "Once upon a time";

/**
 * Those measured beside each other: those asked for, or else the CPU's and, unless there is a peer, which pays nothing
 * like it, the simulated card.
 */
export function contendingDevices({
  devices,
  peer,
}: {
  devices: readonly Device[] | null;
  peer: unknown;
}): readonly Device[] {
  return devices ?? (peer === null ? ["off", "host"] : ["off"]);
}

/** The first card of those asked for; the simulated one when there is none. */
export function contendingCard({ devices }: { devices: readonly Device[] | null }): Device {
  return devices?.find((device) => device !== "off") ?? "host";
}

export class StackUnderTest {
  private constructor(
    readonly model: Model,
    readonly group: ExecutorGroup,
    private readonly runner: RecordingRunner,
    private readonly batcher: Batcher,
    private readonly telemetry: Telemetry,
    /** The start of a story. */
    readonly prompt: readonly number[],
    /** Ids below this one are tokens. */
    readonly vocab: number,
  ) {}

  get limits(): StepLimits {
    return this.runner.limits;
  }

  /**
   * Starts it as `thermocline serve` would, with every other option at its default.
   * @throws ThermoclineError; nothing is left behind then
   */
  static async open({
    modelPath,
    predictor,
    device,
    vramBudgetBytes,
    threads,
    otlpEndpoint,
    counting,
  }: StackOptions): Promise<StackUnderTest> {
    const model = withPredictor(await loadModel(modelPath, { activation: null }), predictor);
    const limits = limitsFor(model, { slots: DEFAULT_SLOTS, contextLength: null });
    const profile = await loadProfile(model, null);
    const tokenizer = loadTokenizer(model.file);
    const log = createLog("bench", "warn");
    const executors = {
      ...{ gpu: device, vramBudgetBytes, threads, cpuExecutors: 1, repack: true },
      ...{ placementPath: null, executorAddresses: [] },
    };
    const group = new ExecutorGroup({
      executors: await executorSources(executors, model, limits, log),
      model,
      limits,
      plan: (executors) =>
        planFor(executors, {
          ...{ model, sizes: limits, profile, placementPath: null, cacheFolder: cacheFolder(), log },
        }),
      ...GROUP_DEFAULTS,
      observation: counting ? "counts" : "none",
      log,
      onExecutorLog: (executor, line) => relay(log, executor, line),
      onState: () => undefined,
    });
    const telemetry = await createTelemetry({
      otlpEndpoint,
      traceRatio: DEFAULT_TRACE_RATIO,
      model: model.name,
      executors: () => group.placement?.schedule.executors ?? [],
      log,
    });
    try {
      await group.open();
    } catch (error) {
      await telemetry.shutdown();
      throw error;
    }
    const onError = (error: unknown) => log.error({ err: error }, "neurons were not counted");
    const runner = new RecordingRunner(
      counting ? new LiveRecorder(group, model.shape, { ...LIVE_DEFAULTS, onError }) : group,
    );
    const batcher = new Batcher(runner, tokenizer, telemetry.observer);
    const prompt = tokenizer.encode(PROMPT, true, false);
    return new StackUnderTest(model, group, runner, batcher, telemetry, prompt, model.shape.vocab);
  }

  /** Runs one request, alone. @throws ThermoclineError */
  async generate({ prompt, tokens, sampling, signal }: Turn): Promise<Generation> {
    this.checkRoom(prompt.length, tokens);
    this.runner.clear();
    const events = this.batcher.generate({
      arrivedAt: performance.now(),
      promptTokens: prompt,
      maxTokens: tokens,
      sampling,
      stop: [],
      topLogprobs: 0,
      logprobs: false,
      layerSummary: false,
      ignoreEos: true,
      signal,
      traceContext: ROOT_CONTEXT,
    });
    for await (const event of events) {
      if (event.kind === "token") continue;
      const { steps } = this.runner;
      return {
        prefill: steps.filter(({ position }) => position < prompt.length),
        steps: steps.filter(({ position }) => position >= prompt.length),
        summary: event.summary,
      };
    }
    throw new ThermoclineError("INTERNAL", "the generation ended without a summary");
  }

  private checkRoom(prompt: number, tokens: number): void {
    const { contextLength } = this.limits;
    if (prompt + tokens <= contextLength) return;
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `a prompt of ${prompt} tokens and --tokens ${tokens} do not fit into a context of ${contextLength}; give at ` +
        `most ${contextLength - prompt} tokens, or a shorter --prompt-tokens`,
    );
  }

  async close(): Promise<void> {
    const lastStep = this.batcher.close();
    await Promise.all([lastStep, this.group.close()]);
    // The ends of requests reach telemetry in the event loop's next turn.
    await nextTurn();
    await this.telemetry.shutdown();
  }
}

/** Opens a stack for each of `options`, and closes them all when `work` is done. */
export async function withStacks<T>(
  options: readonly StackOptions[],
  work: (stacks: StackUnderTest[]) => Promise<T>,
): Promise<T> {
  const stacks: StackUnderTest[] = [];
  try {
    for (const each of options) stacks.push(await StackUnderTest.open(each));
    return await work(stacks);
  } finally {
    await Promise.all(stacks.map((stack) => stack.close()));
  }
}
