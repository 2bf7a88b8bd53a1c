/** Makes lost telemetry visible in the log, without flooding it. */
import type { Logger } from "pino";
import { monotonicNs } from "./clock.js";

const REPORT_INTERVAL_NS = 30e9;

/** Counts what was lost and says so at once, then at most every 30 seconds while it goes on. */
export class ExportWatch {
  private droppedSpans = 0;
  private failedSpans = 0;
  private failedMetricExports = 0;
  private lastError: unknown = null;
  private reportedAtNs = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly log: Logger,
    private readonly now: () => number = monotonicNs,
  ) {}

  /** Spans that were not made or not queued, because too many are waiting to be sent. */
  spansDropped(count: number): void {
    this.droppedSpans += count;
    this.report();
  }

  spansFailed(count: number, error: unknown): void {
    this.failedSpans += count;
    this.lastError = error;
    this.report();
  }

  metricsFailed(error: unknown): void {
    this.failedMetricExports++;
    this.lastError = error;
    this.report();
  }

  /** Says what has not been said yet. */
  flush(): void {
    if (this.droppedSpans + this.failedSpans + this.failedMetricExports === 0) return;
    this.log.warn(
      {
        droppedSpans: this.droppedSpans,
        failedSpans: this.failedSpans,
        failedMetricExports: this.failedMetricExports,
        reason: this.lastError instanceof Error ? this.lastError.message : undefined,
      },
      "telemetry was lost",
    );
    this.droppedSpans = 0;
    this.failedSpans = 0;
    this.failedMetricExports = 0;
    this.lastError = null;
  }

  private report(): void {
    const now = this.now();
    if (now - this.reportedAtNs < REPORT_INTERVAL_NS) return;
    this.reportedAtNs = now;
    this.flush();
  }
}
