/** Puts CLOCK_MONOTONIC times, which timing records hold, onto the epoch clock, which spans need. */
import type { HrTime } from "@opentelemetry/api";

const NS_PER_S = 1_000_000_000;
const NS_PER_MS = 1_000_000n;

/** CLOCK_MONOTONIC in nanoseconds, the clock that {@link process.hrtime} reads on Linux. */
export function monotonicNs(): number {
  return Number(process.hrtime.bigint());
}

/** One fixed relation between the clocks. Whatever is mapped by the same one keeps its order and its distances. */
export class ClockMapping {
  private readonly offsetS: number;
  private readonly offsetNs: number;

  /** @param offsetNs epoch minus monotonic, in nanoseconds */
  constructor(offsetNs: bigint) {
    this.offsetS = Number(offsetNs / BigInt(NS_PER_S));
    this.offsetNs = Number(offsetNs % BigInt(NS_PER_S));
  }

  /** Seconds and nanoseconds since the epoch; one number could not hold both exactly. */
  toEpoch(ns: number): HrTime {
    const seconds = Math.floor(ns / NS_PER_S);
    const nanos = Math.round(ns - seconds * NS_PER_S) + this.offsetNs;
    const carry = Math.floor(nanos / NS_PER_S);
    return [seconds + this.offsetS + carry, nanos - carry * NS_PER_S];
  }
}

/** Reads both clocks: the epoch in whole milliseconds, rounded down, and CLOCK_MONOTONIC in nanoseconds. */
export type ReadClocks = () => { epochMs: number; monotonicNs: bigint };

const readSystemClocks: ReadClocks = () => ({ epochMs: Date.now(), monotonicNs: process.hrtime.bigint() });

/**
 * Knows the relation between the clocks, which changes when the epoch clock is corrected.
 *
 * A reading bounds the offset to the millisecond that the epoch clock was rounded down by. The offset in use stays
 * for as long as readings allow it and moves just inside when they no longer do, so that it settles on the largest
 * lower bound seen, which is within microseconds of the truth after some readings.
 */
export class EpochClock {
  private offsetNs: bigint;

  constructor(private readonly read: ReadClocks = readSystemClocks) {
    this.offsetNs = this.lowestOffset();
  }

  /** The relation as of now, for everything in one trace. */
  mapping(): ClockMapping {
    const lowest = this.lowestOffset();
    const highest = lowest + NS_PER_MS;
    if (this.offsetNs < lowest) this.offsetNs = lowest;
    else if (this.offsetNs > highest) this.offsetNs = highest;
    return new ClockMapping(this.offsetNs);
  }

  private lowestOffset(): bigint {
    const { epochMs, monotonicNs } = this.read();
    return BigInt(epochMs) * NS_PER_MS - monotonicNs;
  }
}
