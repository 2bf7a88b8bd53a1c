/** Spans on their way out: all resources share one queue and one exporter, and nothing is dropped in silence. */
import { tracing } from "@opentelemetry/sdk-node";
import type { ExportWatch } from "./export-watch.js";
import { MAX_BURST } from "./span-budget.js";

/** Spans that may wait: a burst while the one before it is still on its way. */
export const QUEUE_SPANS = 2 * MAX_BURST;
/** A batch is encoded in one go, at 17 us a span: 2 ms in which nothing else runs on the coordinator's thread. */
export const BATCH_SPANS = 128;
const FLUSH_INTERVAL_MS = 1000;

export class SpanQueue implements tracing.SpanProcessor {
  /** Spans that neither arrived nor failed yet. */
  private waiting = 0;
  private readonly batches: tracing.BatchSpanProcessor;

  constructor(
    private readonly exporter: tracing.SpanExporter,
    private readonly watch: ExportWatch,
    exportTimeoutMs: number,
  ) {
    this.batches = new tracing.BatchSpanProcessor(
      {
        export: (spans, done) => this.export(spans, done),
        shutdown: () => exporter.shutdown(),
      },
      {
        maxQueueSize: QUEUE_SPANS,
        maxExportBatchSize: BATCH_SPANS,
        scheduledDelayMillis: FLUSH_INTERVAL_MS,
        // The exporter has this deadline itself, and tells what became of the batch; this one must not come first.
        exportTimeoutMillis: 2 * exportTimeoutMs,
      },
    );
  }

  /** Whether so many more would find room; if not, they count as dropped. */
  reserve(count: number): boolean {
    if (this.waiting + count <= QUEUE_SPANS) return true;
    this.watch.spansDropped(count);
    return false;
  }

  onStart(): void {
    // Spans count from their end on.
  }

  onEnd(span: tracing.ReadableSpan): void {
    if (!this.reserve(1)) return;
    this.waiting++;
    this.batches.onEnd(span);
  }

  async forceFlush(): Promise<void> {
    // A batch that fails rejects this and is counted where it is exported.
    await this.batches.forceFlush().catch(() => undefined);
  }

  async shutdown(): Promise<void> {
    await this.forceFlush();
    await this.batches.shutdown();
  }

  private export(spans: tracing.ReadableSpan[], done: Parameters<tracing.SpanExporter["export"]>[1]): void {
    this.exporter.export(spans, (result) => {
      this.waiting -= spans.length;
      if (result.error !== undefined) this.watch.spansFailed(spans.length, result.error);
      done(result);
    });
  }
}
