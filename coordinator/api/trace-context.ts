/** The caller's trace context out of request headers: W3C Trace Context, https://www.w3.org/TR/trace-context/. */
import { type Context, createTraceState, isSpanContextValid, ROOT_CONTEXT, trace } from "@opentelemetry/api";

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/**
 * By hand, because the OpenTelemetry SDK's propagator would have to be loaded (half a second) even where tracing is
 * off.
 * @returns the root context when there is no valid `traceparent`
 */
export function extractTraceContext(headers: Headers): Context {
  const [, version, traceId, spanId, flags, rest] =
    TRACEPARENT.exec(headers.get("traceparent")?.trim() ?? "") ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return ROOT_CONTEXT;
  // Version 0 has no further fields; later versions may, and ff is none.
  if (version === "ff" || (version === "00" && rest !== undefined)) return ROOT_CONTEXT;
  const state = headers.get("tracestate");
  const spanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
    ...(state === null ? {} : { traceState: createTraceState(state) }),
  };
  return isSpanContextValid(spanContext) ? trace.setSpanContext(ROOT_CONTEXT, spanContext) : ROOT_CONTEXT;
}
