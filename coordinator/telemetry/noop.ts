/** Telemetry that is switched off. */
import type { Observer, RequestObserver } from "./observer.js";

const REQUEST: RequestObserver = {
  traceId: "",
  admitted: () => undefined,
  firstToken: () => undefined,
  finished: () => undefined,
};

export const NOOP_OBSERVER: Observer = { request: () => REQUEST, step: () => undefined };
