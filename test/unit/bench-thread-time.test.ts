import type { Profiler } from "node:inspector/promises";
import { describe, expect, it } from "vitest";
import { profiled, shareOf } from "../../bench/thread-time.js";

function node(id: number, url: string, children: number[]): Profiler.ProfileNode {
  return { id, callFrame: { functionName: "", scriptId: "", url, lineNumber: 0, columnNumber: 0 }, children };
}

describe("shareOf", () => {
  it("counts matching functions and whatever they called", () => {
    const profile: Profiler.Profile = {
      nodes: [node(1, "", [2, 3]), node(2, "a.js", [4]), node(3, "b.js", []), node(4, "b.js", [])],
      startTime: 0,
      endTime: 100,
      samples: [1, 2, 3, 4],
      timeDeltas: [40, 10, 30, 20],
    };
    expect(shareOf(profile, (url) => url === "a.js")).toBeCloseTo(0.3);
    expect(shareOf(profile, (url) => url === "b.js")).toBeCloseTo(0.5);
    expect(shareOf(profile, () => false)).toBe(0);
  });

  it("finds the file that kept the thread busy", async () => {
    const profile = await profiled(() => {
      const end = performance.now() + 200;
      while (performance.now() < end);
      return Promise.resolve();
    });
    expect(shareOf(profile, (url) => url.includes("bench-thread-time"))).toBeGreaterThan(0.5);
  });
});
