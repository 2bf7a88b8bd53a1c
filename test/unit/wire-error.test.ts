import { Code, ConnectError } from "@connectrpc/connect";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { fromAbortReason, toConnectError } from "../../coordinator/api/wire-error.js";
import { STATUS_CODES, type StatusCode, ThermoclineError } from "../../proto/errors.js";

function logged() {
  const lines: string[] = [];
  return { lines, log: pino({ level: "trace" }, { write: (line: string) => void lines.push(line) }) };
}

describe("to the wire", () => {
  test.each(Object.entries(STATUS_CODES) as [StatusCode, number][])(
    "%s keeps code and sentence",
    (code, number) => {
      const { lines, log } = logged();
      const error = toConnectError(new ThermoclineError(code, "what, where, and what to do"), log);
      expect(error).toMatchObject({ code: number, rawMessage: "what, where, and what to do" });
      expect(lines).toHaveLength(code === "INTERNAL" ? 1 : 0);
    },
  );

  test.each([new Error("stack at /secret"), "a string", null])(
    "%s becomes INTERNAL, and is logged",
    (thrown) => {
      const { lines, log } = logged();
      const error = toConnectError(thrown, log);
      expect(error.code).toBe(Code.Internal);
      expect(error.rawMessage).not.toContain("secret");
      expect(lines).toHaveLength(1);
    },
  );

  test("Connect's own errors stay as they are", () => {
    const { lines, log } = logged();
    const error = new ConnectError("message is too large", Code.ResourceExhausted);
    expect(toConnectError(error, log)).toBe(error);
    expect(lines).toEqual([]);
  });
});

describe("reasons of an abort", () => {
  test("ours stay as they are", () => {
    const reason = new ThermoclineError("UNAVAILABLE", "the server is shutting down");
    expect(fromAbortReason(reason, 5)).toBe(reason);
  });

  test("a deadline names its length where it is known", () => {
    const reason = new ConnectError("the operation timed out", Code.DeadlineExceeded);
    expect(fromAbortReason(reason, 249.7)).toMatchObject({
      code: "DEADLINE_EXCEEDED",
      message: expect.stringContaining("deadline of 250 ms passed"),
    });
    expect(fromAbortReason(reason, null).message).toContain("the request's deadline passed");
  });

  test.each([undefined, new ConnectError("gone", Code.Canceled), new Error("ECONNRESET")])(
    "%s is a cancellation",
    (reason) => {
      expect(fromAbortReason(reason, null).code).toBe("CANCELLED");
    },
  );
});
