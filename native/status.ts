/** The gRPC status each native error stands for, for whoever passes one on. */
import type { NativeErrorCode } from "./index.js";

export const NATIVE_STATUS = {
  "invalid-argument": "INVALID_ARGUMENT",
  "not-found": "NOT_FOUND",
  corrupt: "INVALID_ARGUMENT",
  "out-of-memory": "RESOURCE_EXHAUSTED",
  unsupported: "UNIMPLEMENTED",
  closed: "FAILED_PRECONDITION",
  cancelled: "CANCELLED",
  aborted: "ABORTED",
  "timed-out": "DEADLINE_EXCEEDED",
  system: "INTERNAL",
  internal: "INTERNAL",
} as const satisfies Record<NativeErrorCode, string>;
