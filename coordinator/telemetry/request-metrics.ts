/** Metrics of requests, which are few enough for ordinary instruments. */
import type { Attributes, Counter, Histogram, Meter, UpDownCounter } from "@opentelemetry/api";
import type { FinishReason } from "../schedule/generation.js";
import { errorType } from "./error-type.js";
import { ATTRIBUTES, GEN_AI, METRICS } from "./names.js";

/** Boundaries that the GenAI conventions recommend, in seconds. */
const REQUEST_S = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
const FIRST_TOKEN_S = [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10];
/** The same from a tenth of a millisecond on: small models and sparse steps take less than the recommended 10 ms. */
const TOKEN_S = [
  0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5,
  0.75, 1, 2.5,
];

export class RequestMetrics {
  private readonly active: UpDownCounter;
  private readonly queueTime: Histogram;
  private readonly timeToFirstToken: Histogram;
  private readonly timePerOutputToken: Histogram;
  private readonly duration: Histogram;
  private readonly tokens: Counter;

  /** @param common attributes of every request metric */
  constructor(
    meter: Meter,
    private readonly common: Attributes,
  ) {
    const seconds = (name: string, description: string, explicitBucketBoundaries: number[]) =>
      meter.createHistogram(name, { unit: "s", description, advice: { explicitBucketBoundaries } });
    this.active = meter.createUpDownCounter(METRICS.activeRequests, {
      unit: "{request}",
      description: "Requests that arrived and have not ended",
    });
    this.queueTime = seconds(METRICS.queueTime, "Time a request waited for a slot", FIRST_TOKEN_S);
    this.timeToFirstToken = seconds(
      METRICS.timeToFirstToken,
      "From arrival to the first token",
      FIRST_TOKEN_S,
    );
    this.timePerOutputToken = seconds(
      METRICS.timePerOutputToken,
      "Time a token after the first one",
      TOKEN_S,
    );
    this.duration = seconds(METRICS.requestDuration, "From arrival to the end", REQUEST_S);
    this.tokens = meter.createCounter(METRICS.tokens, {
      unit: "{token}",
      description: "Tokens read and generated",
    });
  }

  arrived(): void {
    this.active.add(1, this.common);
  }

  admitted(queueS: number): void {
    this.queueTime.record(queueS, this.common);
  }

  firstToken(sinceArrivalS: number): void {
    this.timeToFirstToken.record(sinceArrivalS, this.common);
  }

  /** @param decodeS from the first token to the end, or null when there was none */
  finished(
    outcome: FinishReason | Error,
    promptTokens: number,
    generatedTokens: number,
    durationS: number,
    decodeS: number | null,
  ): void {
    this.active.add(-1, this.common);
    const error = outcome instanceof Error ? { [ATTRIBUTES.errorType]: errorType(outcome) } : {};
    this.duration.record(durationS, { ...this.common, ...error });
    if (decodeS !== null && generatedTokens > 1) {
      this.timePerOutputToken.record(decodeS / (generatedTokens - 1), this.common);
    }
    this.tokens.add(promptTokens, { ...this.common, [GEN_AI.tokenType]: "input" });
    this.tokens.add(generatedTokens, { ...this.common, [GEN_AI.tokenType]: "output" });
  }
}
