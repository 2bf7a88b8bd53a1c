/** Which executor processes a stack starts, and on which CPUs. */
import { describe, expect, test } from "vitest";
import { planExecutors, type SpawnOptions } from "../../coordinator/executors/spawn-plan.js";

/** What was planned for each executor. */
function plan(options: Partial<SpawnOptions>, device: "cuda" | "host" | "off", cpus: number) {
  const full: SpawnOptions = {
    vramBudgetBytes: 4096,
    cpuExecutors: 1,
    repack: true,
    threads: null,
    ...options,
  };
  return planExecutors(full, device, cpus).map(({ name, kind, args }) => {
    const given = (option: string) => args[args.indexOf(option) + 1] ?? "";
    return { name, kind, threads: Number(given("--threads")), args };
  });
}

describe("processes", () => {
  test("a card's executor has one thread, and leaves every CPU to the CPU executors", () => {
    expect(plan({ cpuExecutors: 2 }, "cuda", 5)).toMatchObject([
      { name: "gpu", threads: 1 },
      { name: "cpu-0", threads: 2 },
      { name: "cpu-1", threads: 3 },
    ]);
  });

  test("one CPU executor gets every CPU", () => {
    expect(plan({}, "off", 3)).toMatchObject([{ name: "cpu", kind: "cpu", threads: 3 }]);
  });

  test("the GPU executor comes first, with its device and budget, and shares the CPUs", () => {
    const [gpu, cpu] = plan({}, "host", 5);
    expect(gpu).toMatchObject({ name: "gpu", kind: "gpu", threads: 2 });
    expect(gpu?.args.slice(2)).toEqual(["--device", "host", "--vram-budget", "4096"]);
    expect(cpu).toMatchObject({ name: "cpu", kind: "cpu", threads: 3 });
    expect(cpu?.args).toHaveLength(2);
  });

  test("several CPU executors have numbers", () => {
    expect(plan({ cpuExecutors: 3 }, "host", 4).map(({ name }) => name)).toEqual([
      "gpu",
      "cpu-0",
      "cpu-1",
      "cpu-2",
    ]);
  });

  test.each([1, 2, 3, 4, 5, 8, 13])("%d CPUs: one thread each, or one for each process", (count) => {
    for (let cpuExecutors = 1; cpuExecutors <= 5; cpuExecutors++) {
      for (const device of ["host", "off"] as const) {
        const planned = plan({ cpuExecutors }, device, count);
        const threads = planned.map((executor) => executor.threads);
        const processes = cpuExecutors + (device === "host" ? 1 : 0);
        expect(threads.reduce((a, b) => a + b)).toBe(Math.max(count, processes));
        expect(Math.max(...threads) - Math.min(...threads)).toBeLessThanOrEqual(1);
        expect(Math.min(...threads)).toBeGreaterThan(0);
      }
    }
  });

  test("--threads counts all executors' together, below the CPUs or above", () => {
    expect(plan({ threads: 3 }, "host", 4)).toMatchObject([{ threads: 1 }, { threads: 2 }]);
    expect(plan({ threads: 6 }, "host", 4)).toMatchObject([{ threads: 3 }, { threads: 3 }]);
  });
});
