/** Log lines for people, and executors' lines in the coordinator's log. */
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { readable, relay } from "../../coordinator/log.js";

/** A log and the records written to it. */
function recorder(level = "trace") {
  const records: Record<string, unknown>[] = [];
  const log = pino(
    { name: "coordinator", level },
    { write: (line: string) => records.push(JSON.parse(line)) },
  );
  return { log, records };
}

/** The line that a process with this log would have written. */
function lineOf(write: (log: pino.Logger) => void): string {
  const lines: string[] = [];
  write(pino({ name: "cpu-executor" }, { write: (line: string) => lines.push(line) }));
  return lines.join("");
}

describe("readable", () => {
  const CLOCK = String.raw`\d\d:\d\d:\d\d`;

  test.each<[string, (log: pino.Logger) => void, string]>([
    ["a note", (log) => log.info("serving"), "serving"],
    ["a warning", (log) => log.warn("no GPU was found"), "warn: no GPU was found"],
    ["an executor's line", (log) => log.error({ executor: "cpu-1" }, "hangs"), "error: cpu-1: hangs"],
    [
      "a reason",
      (log) => log.warn({ reason: "it was killed" }, "recovering"),
      String.raw`warn: recovering \(it was killed\)`,
    ],
    [
      "an error",
      (log) => log.error({ err: new Error("no such file") }, "a load failed"),
      "error: a load failed: no such file",
    ],
  ])("%s", (_, write, expected) => {
    expect(readable(lineOf(write))).toMatch(new RegExp(`^${CLOCK} ${expected}$`));
  });

  test.each(["plain text", "{not JSON", '{"ready":"unix:/a"}', ""])("%j is no log line and stays", (line) => {
    expect(readable(`${line}\n`)).toBe(line);
  });
});

describe("relay", () => {
  test("keeps level, message and fields, and says which executor spoke", () => {
    const { log, records } = recorder();
    relay(
      log,
      "cpu-1",
      lineOf((from) => from.warn({ threads: 2, err: new Error("why") }, "slow")),
    );
    expect(records).toEqual([
      expect.objectContaining({
        level: 40,
        name: "coordinator",
        pid: process.pid,
        executor: "cpu-1",
        threads: 2,
        msg: "slow",
        err: expect.objectContaining({ message: "why" }),
      }),
    ]);
  });

  test("what is below the log's level is left out, what is above is not", () => {
    const { log, records } = recorder("warn");
    relay(
      log,
      "gpu",
      lineOf((from) => from.info("ready")),
    );
    relay(
      log,
      "gpu",
      lineOf((from) => from.error("hangs")),
    );
    expect(records.map(({ msg }) => msg)).toEqual(["hangs"]);
  });

  test("what is no log line is a warning; an empty line is nothing", () => {
    const { log, records } = recorder();
    relay(log, "gpu", "Segmentation fault\n");
    relay(log, "gpu", "");
    expect(records).toEqual([
      expect.objectContaining({ level: 40, executor: "gpu", msg: "Segmentation fault" }),
    ]);
  });
});
