import { expect, test } from "vitest";
import { Ledger } from "../../gpu-executor/ledger.js";

const MIB = 1024 ** 2;

test("reserves by purpose until the capacity is used up, to the byte", () => {
  const ledger = new Ledger("the card", 100);
  const first = ledger.reserve({ weights: 60, scratch: 10 });
  expect(ledger.reservedBytes).toBe(70);
  expect(() => ledger.reserve({ weights: 31 })).toThrow(
    expect.objectContaining({ code: "RESOURCE_EXHAUSTED" }),
  );
  const second = ledger.reserve({ weights: 30 });
  expect(ledger.freeBytes).toBe(0);
  expect(ledger.reservations).toEqual([first, second]);
});

test("a refusal says what was wanted, what is free, and of how much", () => {
  const ledger = new Ledger("the GPU executor's host device", 64 * MIB);
  ledger.reserve({ runtime: 16 * MIB });
  expect(() => ledger.reserve({ weights: 50 * MIB, "kv-cache": 4 * MIB })).toThrow(
    "54.0 MiB (weights 50.0 MiB, kv-cache 4.00 MiB) were asked of the GPU executor's host device, which has " +
      "48.0 MiB free of 64.0 MiB; raise --vram-budget, or place less there",
  );
  expect(ledger.reservedBytes).toBe(16 * MIB);
});

test("releasing gives the memory back once", () => {
  const ledger = new Ledger("the card", 100);
  const first = ledger.reserve({ weights: 60 });
  const second = ledger.reserve({ weights: 40 });
  first.release();
  first.release();
  expect(ledger.freeBytes).toBe(60);
  second.release();
  expect(ledger.reservations).toEqual([]);
});

test("what was taken must be what was reserved, purpose by purpose", () => {
  const ledger = new Ledger("the card", 100);
  const reservation = ledger.reserve({ weights: 60, scratch: 10 });
  expect(reservation.usedBytes).toBe(0);
  expect(() => reservation.markUsed({ weights: 59, scratch: 11 })).toThrow(
    /59 bytes were taken for weights, but 60/,
  );
  expect(() => reservation.markUsed({ weights: 60, scratch: 10, extra: 1 })).toThrow(
    /1 bytes were taken for extra/,
  );
  reservation.markUsed({ weights: 60, scratch: 10 });
  expect(reservation.usedBytes).toBe(70);
});
