/** The spans that hold one sampled request together: `generate` > `prefill`, `decode`. */
import { type Context, type Span, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import type { FinishReason } from "../schedule/generation.js";
import type { StepResult } from "../schedule/step.js";
import type { ClockMapping } from "./clock.js";
import { errorType } from "./error-type.js";
import { ATTRIBUTES, GEN_AI } from "./names.js";
import type { StepShare } from "./observer.js";
import type { Tracers } from "./tracers.js";

export type Stage = StepShare["stage"];

/** Spans of a request besides those of its steps. */
export const REQUEST_SPANS = 3;

interface StageSpan {
  span: Span;
  context: Context;
  endNs: number;
  steps: number;
  detailedSteps: number;
}

export interface RequestTraceOptions {
  tracers: Tracers;
  clock: ClockMapping;
  /** What the request's model is called. */
  model: string;
  parent: Context;
  arrivedNs: number;
  promptTokens: number;
}

export class RequestTrace {
  readonly clock: ClockMapping;
  private readonly generate: Span;
  private readonly inGenerate: Context;
  private readonly tracers: Tracers;
  private readonly stages = new Map<Stage, StageSpan>();

  private constructor(options: RequestTraceOptions, generate: Span) {
    this.tracers = options.tracers;
    this.clock = options.clock;
    this.generate = generate;
    this.inGenerate = trace.setSpan(options.parent, generate);
  }

  /** Begins a trace, or continues the caller's; null when the request is not sampled. */
  static begin(options: RequestTraceOptions): RequestTrace | null {
    const generate = options.tracers.coordinator.startSpan(
      "generate",
      {
        kind: SpanKind.SERVER,
        startTime: options.clock.toEpoch(options.arrivedNs),
        attributes: {
          [GEN_AI.operation]: "text_completion",
          [GEN_AI.provider]: "thermocline",
          [GEN_AI.requestModel]: options.model,
          [GEN_AI.inputTokens]: options.promptTokens,
        },
      },
      options.parent,
    );
    return generate.isRecording() ? new RequestTrace(options, generate) : null;
  }

  get traceId(): string {
    return this.generate.spanContext().traceId;
  }

  /** Whether no step of this stage has been seen yet. */
  isFirst(stage: Stage): boolean {
    return !this.stages.has(stage);
  }

  /** Notes a step. @returns the context for its span */
  step(stage: Stage, { startNs, endNs }: StepResult, detailed: boolean): Context {
    let current = this.stages.get(stage);
    if (current === undefined) {
      const span = this.tracers.coordinator.startSpan(
        stage,
        { startTime: this.clock.toEpoch(startNs) },
        this.inGenerate,
      );
      current = { span, context: trace.setSpan(this.inGenerate, span), endNs, steps: 0, detailedSteps: 0 };
      this.stages.set(stage, current);
    }
    current.endNs = endNs;
    current.steps++;
    if (detailed) current.detailedSteps++;
    return current.context;
  }

  finish(outcome: FinishReason | Error, generatedTokens: number, endNs: number): void {
    for (const { span, endNs: lastNs, steps, detailedSteps } of this.stages.values()) {
      span.setAttributes({ [ATTRIBUTES.steps]: steps, [ATTRIBUTES.detailedSteps]: detailedSteps });
      span.end(this.clock.toEpoch(lastNs));
    }
    this.generate.setAttribute(GEN_AI.outputTokens, generatedTokens);
    if (outcome instanceof Error) {
      this.generate.setAttribute(ATTRIBUTES.errorType, errorType(outcome));
      this.generate.setStatus({ code: SpanStatusCode.ERROR, message: outcome.message });
    } else {
      this.generate.setAttribute(GEN_AI.finishReasons, [outcome]);
    }
    this.generate.end(this.clock.toEpoch(endNs));
  }
}
