/** What happens to telemetry that cannot be sent: it is counted and said, and nobody waits for it. */
import { tracing } from "@opentelemetry/sdk-node";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { ExportWatch } from "../../coordinator/telemetry/export-watch.js";
import { QUEUE_SPANS, SpanQueue } from "../../coordinator/telemetry/span-queue.js";

type Done = Parameters<tracing.SpanExporter["export"]>[1];

interface Line {
  msg: string;
  droppedSpans: number;
  failedSpans: number;
  reason?: string;
}

function recordingLog() {
  const lines: Line[] = [];
  const log = pino({}, { write: (line: string) => void lines.push(JSON.parse(line) as Line) });
  return { log, lines };
}

/** A queue whose exporter answers when told to. */
function queueWith() {
  const { log, lines } = recordingLog();
  const pending: { spans: number; done: Done }[] = [];
  let shutDown = false;
  const exporter: tracing.SpanExporter = {
    export: (spans, done) => void pending.push({ spans: spans.length, done }),
    shutdown: () => {
      shutDown = true;
      return Promise.resolve();
    },
  };
  const queue = new SpanQueue(exporter, new ExportWatch(log), 1000);
  const tracer = new tracing.BasicTracerProvider({ spanProcessors: [queue] }).getTracer("test");
  const make = (count: number) => {
    for (let span = 0; span < count; span++) tracer.startSpan("span").end();
  };
  return { queue, make, pending, lines, isShutDown: () => shutDown };
}

/** Answers exports as they come, until there are none. */
async function answerAll(pending: { spans: number; done: Done }[], error: Error | null): Promise<number> {
  let spans = 0;
  for (let idle = 0; idle < 20; idle++) {
    for (const batch of pending.splice(0)) {
      spans += batch.spans;
      batch.done(error === null ? { code: 0 } : { code: 1, error });
      idle = 0;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  return spans;
}

describe("SpanQueue", () => {
  it("holds a burst, sends it whole, and says nothing", async () => {
    const { queue, make, pending, lines } = queueWith();
    make(QUEUE_SPANS);
    const flushed = queue.forceFlush();
    expect(await answerAll(pending, null)).toBe(QUEUE_SPANS);
    await flushed;
    expect(lines).toEqual([]);
  });

  it("counts what is beyond it as dropped, and takes spans again once there is room", async () => {
    const { queue, make, pending, lines } = queueWith();
    make(QUEUE_SPANS + 7);
    expect(queue.reserve(1)).toBe(false);
    expect(lines).toMatchObject([{ droppedSpans: 1, msg: "telemetry was lost" }]);
    const flushed = queue.forceFlush();
    expect(await answerAll(pending, null)).toBe(QUEUE_SPANS);
    await flushed;
    expect(queue.reserve(QUEUE_SPANS)).toBe(true);
    expect(queue.reserve(QUEUE_SPANS + 1)).toBe(false);
  });

  it("counts what failed, frees its room, and closes the exporter all the same", async () => {
    const { queue, make, pending, lines, isShutDown } = queueWith();
    make(10);
    const down = queue.shutdown();
    expect(await answerAll(pending, new Error("nobody listens"))).toBe(10);
    await down;
    expect(lines).toMatchObject([{ failedSpans: 10, droppedSpans: 0, reason: "nobody listens" }]);
    expect(isShutDown()).toBe(true);
    expect(queue.reserve(QUEUE_SPANS)).toBe(true);
  });
});

describe("ExportWatch", () => {
  it("says a loss at once, then what came together every 30 seconds", () => {
    const { log, lines } = recordingLog();
    let nowNs = 0;
    const watch = new ExportWatch(log, () => nowNs);
    watch.spansDropped(3);
    expect(lines).toMatchObject([{ droppedSpans: 3 }]);
    watch.spansDropped(4);
    watch.spansFailed(5, new Error("late"));
    watch.metricsFailed("gone");
    expect(lines).toHaveLength(1);
    nowNs = 31e9;
    watch.spansDropped(1);
    expect(lines[1]).toMatchObject({ droppedSpans: 5, failedSpans: 5, failedMetricExports: 1 });
    watch.flush();
    expect(lines).toHaveLength(2);
    watch.spansFailed(2, new Error("again"));
    watch.flush();
    expect(lines[2]).toMatchObject({ droppedSpans: 0, failedSpans: 2, reason: "again" });
  });
});
