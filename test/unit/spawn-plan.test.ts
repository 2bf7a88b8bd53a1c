/** Which executor processes a stack starts, and on which CPUs. */
import { describe, expect, test } from "vitest";
import { chooseDevice, planExecutors, type SpawnOptions } from "../../coordinator/executors/spawn-plan.js";

const NO_DRIVER = { controlDevice: false, library: false };
const DRIVER = { controlDevice: true, library: true };

describe("the device", () => {
  test("host and off are taken as they are, without a word", () => {
    expect(chooseDevice("host", NO_DRIVER)).toEqual({ device: "host", note: null });
    expect(chooseDevice("off", DRIVER)).toEqual({ device: "off", note: null });
  });

  test.each([
    [NO_DRIVER, /^no GPU was found: everything runs on the CPU \(--gpu host .*\)$/],
    [DRIVER, /^this build has no CUDA device for the NVIDIA driver found here: everything runs on the CPU/],
  ])("auto says in one line what runs instead of CUDA, driver %o", (driver, note) => {
    expect(chooseDevice("auto", driver)).toEqual({ device: "off", note: expect.stringMatching(note) });
  });

  test.each([NO_DRIVER, DRIVER])(
    "cuda is an error that says what there is and what to do, driver %o",
    (driver) => {
      expect(() => chooseDevice("cuda", driver)).toThrow(
        expect.objectContaining({
          code: "FAILED_PRECONDITION",
          message: expect.stringMatching(
            /^--gpu cuda: this build has no CUDA device \(.*\); use --gpu off, or --gpu host/,
          ),
        }),
      );
    },
  );
});

/** What was planned for each executor. */
function plan(options: Partial<SpawnOptions>, device: "host" | "off", cpus: number) {
  const full: SpawnOptions = {
    gpu: "auto",
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
