import { describe, expect, it } from "vitest";
import { MAX_BURST, SpanBudget } from "../../coordinator/telemetry/span-budget.js";

const STEP = 60;
const SECOND = 1e9;

/** Spans made in a time by requests that ask for as much detail as they may get. */
function spansIn(seconds: number, first: boolean, stepsPerSecond = 200): number {
  const budget = new SpanBudget(0);
  let spans = 0;
  for (let step = 0; step < seconds * stepsPerSecond; step++) {
    if (!budget.allows(first, (step * SECOND) / stepsPerSecond)) continue;
    budget.spend(STEP);
    spans += STEP;
  }
  return spans;
}

describe("SpanBudget", () => {
  it("keeps what is made in the long run below 1,000 spans a second, whatever has priority", () => {
    for (const first of [false, true]) {
      const spans = spansIn(60, first);
      expect(spans).toBeLessThan(60 * 1000);
      expect(spans).toBeGreaterThan(60 * 100);
    }
  });

  it("grants no more at one go than the queue is made for", () => {
    expect(spansIn(1e-3, true, 1e6)).toBeLessThanOrEqual(MAX_BURST);
  });

  it("lets a request's first steps through when other detail has used up its share", () => {
    const budget = new SpanBudget(0);
    while (budget.allows(false, 0)) budget.spend(STEP);
    expect(budget.allows(true, 0)).toBe(true);
    budget.spend(STEP);
    expect(budget.allows(true, 0)).toBe(true);
  });

  it("lets a large model's first steps of both stages through after idling", () => {
    const budget = new SpanBudget(0);
    for (let stage = 0; stage < 2; stage++) {
      expect(budget.allows(true, 0)).toBe(true);
      budget.spend(800);
    }
  });

  it("recovers with time", () => {
    const budget = new SpanBudget(0);
    while (budget.allows(true, 0)) budget.spend(STEP);
    expect(budget.allows(false, 0)).toBe(false);
    expect(budget.allows(true, SECOND)).toBe(true);
    expect(budget.allows(false, SECOND)).toBe(false);
    expect(budget.allows(false, 10 * SECOND)).toBe(true);
  });
});
