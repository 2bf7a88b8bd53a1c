/** Failures of native calls in the coordinator, as the error class its callers know. */
import { NativeError } from "../../native/index.js";
import { NATIVE_STATUS } from "../../native/status.js";
import { ThermoclineError } from "../../proto/errors.js";

export function toThermoclineError(error: unknown): ThermoclineError {
  if (error instanceof ThermoclineError) return error;
  if (error instanceof NativeError) {
    return new ThermoclineError(NATIVE_STATUS[error.code], error.message, { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new ThermoclineError("INTERNAL", `the coordinator failed in a way it should not: ${message}`, {
    cause: error,
  });
}
