import { ROOT_CONTEXT, trace } from "@opentelemetry/api";
import { expect, test } from "vitest";
import { extractTraceContext } from "../../coordinator/api/trace-context.js";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";
const extract = (headers: Record<string, string>) => extractTraceContext(new Headers(headers));

test("a traceparent and its tracestate are taken over", () => {
  const context = extract({ traceparent: `00-${TRACE}-${SPAN}-01`, tracestate: "vendor=value,other=1" });
  const span = trace.getSpanContext(context);
  expect(span).toMatchObject({ traceId: TRACE, spanId: SPAN, traceFlags: 1, isRemote: true });
  expect(span?.traceState?.get("vendor")).toBe("value");
});

test("a later version may have more fields", () => {
  expect(trace.getSpanContext(extract({ traceparent: `01-${TRACE}-${SPAN}-00-more` }))?.traceFlags).toBe(0);
});

test.each([
  "",
  "nonsense",
  `00-${TRACE}-${SPAN}`,
  `00-${TRACE}-${SPAN}-01-more`,
  `ff-${TRACE}-${SPAN}-01`,
  `00-${"0".repeat(32)}-${SPAN}-01`,
  `00-${TRACE}-${"0".repeat(16)}-01`,
  `00-${TRACE.toUpperCase()}-${SPAN}-01`,
])('"%s" is no trace context', (traceparent) => {
  expect(extract({ traceparent })).toBe(ROOT_CONTEXT);
});

test("without headers there is none", () => {
  expect(extract({})).toBe(ROOT_CONTEXT);
});
