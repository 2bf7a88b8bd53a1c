/** The one error class that crosses process boundaries, and its mapping onto gRPC status codes. */

/** gRPC status codes by name (https://grpc.io/docs/guides/status-codes/), those this system uses. */
export const STATUS_CODES = {
  CANCELLED: 1,
  INVALID_ARGUMENT: 3,
  DEADLINE_EXCEEDED: 4,
  NOT_FOUND: 5,
  RESOURCE_EXHAUSTED: 8,
  FAILED_PRECONDITION: 9,
  ABORTED: 10,
  UNIMPLEMENTED: 12,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
} as const;
export type StatusCode = keyof typeof STATUS_CODES;

/**
 * A failure somebody can act on. `message` is one sentence with the value at fault, the limit, and what to do.
 */
export class ThermoclineError extends Error {
  override readonly name = "ThermoclineError";
  constructor(
    readonly code: StatusCode,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The status code with this number; INTERNAL for a number this system does not use. */
export function statusCodeOf(number: number): StatusCode {
  for (const [name, value] of Object.entries(STATUS_CODES)) {
    if (value === number) return name as StatusCode;
  }
  return "INTERNAL";
}
