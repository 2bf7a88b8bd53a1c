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

describe("what ends at a limit", () => {
  test("counts its seconds on a terminal, and what has none does not", () => {
    const { status, written } = open(true);
    vi.advanceTimersByTime(500);
    status.show("solving", 20_000);
    vi.advanceTimersByTime(3500);
    status.show("comparing");
    vi.advanceTimersByTime(5000);
    status.end();
    vi.advanceTimersByTime(5000);
    expect(written).toEqual([
      "\r\x1b[Ksolving: 1 s of at most 20 s",
      "\r\x1b[Ksolving: 2 s of at most 20 s",
      "\r\x1b[Ksolving: 3 s of at most 20 s",
      "\r\x1b[Kcomparing",
      "\r\x1b[K",
    ]);
  });

  test("says how long it has been in each of a log's lines", () => {
    const { status, written } = open(false);
    status.show("solving", 60_000);
    vi.advanceTimersByTime(25_000);
    status.end();
    expect(written).toEqual([
      "solving: 2 s of at most 60 s\n",
      "solving: 12 s of at most 60 s\n",
      "solving: 22 s of at most 60 s\n",
    ]);
  });
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
