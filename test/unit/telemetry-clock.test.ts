import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClockMapping, EpochClock, monotonicNs } from "../../coordinator/telemetry/clock.js";

const MS = 1_000_000n;

function epochNs([seconds, nanos]: [number, number]): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(nanos);
}

describe("ClockMapping", () => {
  it("adds the offset, to the nanosecond", () => {
    const offset = fc.bigInt({ min: 0n, max: 2n ** 61n });
    const monotonic = fc.integer({ min: 0, max: 2 ** 53 - 1 });
    fc.assert(
      fc.property(offset, monotonic, (offsetNs, ns) => {
        const time = new ClockMapping(offsetNs).toEpoch(ns);
        expect(epochNs(time)).toBe(offsetNs + BigInt(ns));
        expect(time[1]).toBeGreaterThanOrEqual(0);
        expect(time[1]).toBeLessThan(1e9);
      }),
      { seed: 1 },
    );
  });
});

describe("EpochClock", () => {
  /** Clocks that are `offsetNs` apart, seen whenever the monotonic one shows these times. */
  class Clocks {
    offsetNs = 1_790_000_000_123_456_789n;
    nowNs = 5_000_000_000n;
    readonly read = () => ({
      epochMs: Number((this.offsetNs + this.nowNs) / MS),
      monotonicNs: this.nowNs,
    });
  }

  function offsetOf(clock: EpochClock): bigint {
    return epochNs(clock.mapping().toEpoch(0));
  }

  it("is within a millisecond at once, and close after some readings", () => {
    const clocks = new Clocks();
    const clock = new EpochClock(clocks.read);
    const error = () => clocks.offsetNs - offsetOf(clock);
    expect(error() >= 0n && error() < MS).toBe(true);
    for (let reading = 0; reading < 300; reading++) {
      // The golden ratio spreads 300 readings over the millisecond so that none is 10 us from the next.
      clocks.nowNs += 1_618_034n;
      clock.mapping();
    }
    expect(error() >= 0n && error() < 10_000n).toBe(true);
  });

  it("stays put while readings agree, and follows a corrected clock either way", () => {
    const clocks = new Clocks();
    const clock = new EpochClock(clocks.read);
    for (const stepNs of [3_600n * 1_000n * MS, -7_200n * 1_000n * MS]) {
      clocks.offsetNs += stepNs;
      clocks.nowNs += 777_777n;
      const difference = offsetOf(clock) - clocks.offsetNs;
      expect(difference > -MS && difference <= MS).toBe(true);
      expect(offsetOf(clock) - clocks.offsetNs).toBe(difference);
    }
  });

  it("agrees with this machine's clocks", () => {
    const clock = new EpochClock();
    const before = BigInt(Date.now()) * MS;
    const mapped = epochNs(clock.mapping().toEpoch(monotonicNs()));
    const after = BigInt(Date.now() + 1) * MS;
    expect(mapped).toBeGreaterThan(before - MS);
    expect(mapped).toBeLessThan(after + MS);
  });
});
