/** Our errors and the wire's, translated in this one place. */
import { Code, ConnectError } from "@connectrpc/connect";
import type { Logger } from "pino";
import { STATUS_CODES, ThermoclineError } from "../../proto/errors.js";

/**
 * What a caller gets to see of an error: ours with code and sentence, Connect's own as they are, and of anything else
 * only that it happened; that goes to the log.
 */
export function toConnectError(error: unknown, log: Logger): ConnectError {
  if (error instanceof ConnectError) return error;
  if (error instanceof ThermoclineError) {
    if (error.code === "INTERNAL") log.error({ err: error }, "a request failed");
    return new ConnectError(error.message, STATUS_CODES[error.code]);
  }
  log.error({ err: error }, "a request met a defect of the server");
  return new ConnectError(
    "the server met a defect of its own; its log says more, please report it",
    Code.Internal,
  );
}

/** Why Connect aborted a call, in our words. */
export function fromAbortReason(reason: unknown, timeoutMs: number | null): ThermoclineError {
  if (reason instanceof ThermoclineError) return reason;
  const error = ConnectError.from(reason);
  if (error.code === Code.DeadlineExceeded) {
    const deadline = timeoutMs === null ? "deadline" : `deadline of ${Math.round(timeoutMs)} ms`;
    return new ThermoclineError(
      "DEADLINE_EXCEEDED",
      `the request's ${deadline} passed before it was done; ask for fewer tokens or allow more time`,
    );
  }
  return new ThermoclineError("CANCELLED", "the request was cancelled by the client", { cause: reason });
}
