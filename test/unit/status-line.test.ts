import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { StatusLine } from "../../coordinator/cli/status-line.js";

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => vi.useRealTimers());

function open(isTTY: boolean) {
  const written: string[] = [];
  const write = (text: string) => written.push(text) > 0;
  return { status: new StatusLine({ isTTY, write } as unknown as NodeJS.WriteStream), written };
}

describe.each([true, false])("terminal: %s", (isTTY) => {
  test("says nothing of what ends within two seconds", () => {
    const { status, written } = open(isTTY);
    status.show("a");
    vi.advanceTimersByTime(1999);
    status.end();
    vi.advanceTimersByTime(60_000);
    expect(written).toEqual([]);
  });
});

test("a terminal's line is overwritten, and removed at the end", () => {
  const { status, written } = open(true);
  status.show("a");
  status.show("b");
  vi.advanceTimersByTime(2000);
  status.show("c");
  status.end();
  status.end();
  expect(written).toEqual(["\r\x1b[Kb", "\r\x1b[Kc", "\r\x1b[K"]);
});

test("a note stays above the line", () => {
  const { status, written } = open(true);
  status.note("n");
  status.show("a");
  vi.advanceTimersByTime(2000);
  status.note("o");
  expect(written).toEqual(["n\n", "\r\x1b[Ka", "\r\x1b[Ko\na"]);
  status.end();
});

test("a log gets a line every ten seconds", () => {
  const { status, written } = open(false);
  status.show("a");
  vi.advanceTimersByTime(2000);
  status.show("b");
  status.show("c");
  vi.advanceTimersByTime(9999);
  expect(written).toEqual(["a\n"]);
  vi.advanceTimersByTime(1);
  expect(written).toEqual(["a\n", "c\n"]);
  status.end();
  vi.advanceTimersByTime(60_000);
  expect(written).toHaveLength(2);
});
