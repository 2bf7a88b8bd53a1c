/** Failures on their way out of an executor: as a gRPC status whose message is the sentence people read. */
import type { StatusObject } from "@grpc/grpc-js";
import { NativeError } from "../native/index.js";
import { NATIVE_STATUS } from "../native/status.js";
import { STATUS_CODES, ThermoclineError } from "../proto/errors.js";

/** The same failure as the one error class both sides of the wire know. */
export function toThermoclineError(error: unknown): ThermoclineError {
  if (error instanceof ThermoclineError) return error;
  if (error instanceof NativeError) {
    return new ThermoclineError(NATIVE_STATUS[error.code], error.message, { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new ThermoclineError("INTERNAL", `the executor failed in a way it should not: ${message}`, {
    cause: error,
  });
}

export function toStatus(error: unknown): Pick<StatusObject, "code" | "details"> {
  const { code, message } = toThermoclineError(error);
  return { code: STATUS_CODES[code], details: message };
}
