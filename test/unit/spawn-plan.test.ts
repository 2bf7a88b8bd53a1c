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

/** What was planned for each executor: name, kind, threads, and the CPUs they are pinned to. */
function plan(options: Partial<SpawnOptions>, device: "host" | "off", cpus: number[]) {
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
    return { name, kind, threads: Number(given("--threads")), pin: given("--pin"), args };
  });
}

describe("processes", () => {
  test("one CPU executor gets every CPU", () => {
    expect(plan({}, "off", [0, 2, 3])).toMatchObject([
      { name: "cpu", kind: "cpu", threads: 3, pin: "0,2,3" },
    ]);
  });

  test("the GPU executor comes first, with its device and budget, and shares the CPUs", () => {
    const [gpu, cpu] = plan({}, "host", [0, 1, 2, 3, 4]);
    expect(gpu).toMatchObject({ name: "gpu", kind: "gpu", threads: 2, pin: "0,1" });
    expect(gpu?.args.slice(4)).toEqual(["--device", "host", "--vram-budget", "4096"]);
    expect(cpu).toMatchObject({ name: "cpu", kind: "cpu", threads: 3, pin: "2,3,4" });
    expect(cpu?.args).toHaveLength(4);
  });

  test("several CPU executors have numbers", () => {
    expect(plan({ cpuExecutors: 3 }, "host", [0, 1, 2, 3]).map(({ name }) => name)).toEqual([
      "gpu",
      "cpu-0",
      "cpu-1",
      "cpu-2",
    ]);
  });

  test.each([1, 2, 3, 4, 5, 8, 13])(
    "%d CPUs: every thread has one of its own, or none is pinned",
    (count) => {
      const cpus = Array.from({ length: count }, (_, index) => 2 * index);
      for (let cpuExecutors = 1; cpuExecutors <= 5; cpuExecutors++) {
        for (const device of ["host", "off"] as const) {
          const planned = plan({ cpuExecutors }, device, cpus);
          const threads = planned.map((executor) => executor.threads);
          const processes = cpuExecutors + (device === "host" ? 1 : 0);
          expect(threads.reduce((a, b) => a + b)).toBe(Math.max(count, processes));
          expect(Math.max(...threads) - Math.min(...threads)).toBeLessThanOrEqual(1);
          expect(Math.min(...threads)).toBeGreaterThan(0);
          if (processes <= count)
            expect(planned.flatMap(({ pin }) => pin.split(",").map(Number))).toEqual(cpus);
          else expect(planned.map(({ pin }) => pin)).toEqual(planned.map(() => "none"));
        }
      }
    },
  );

  test("--threads below the CPUs leaves the others free; above, nothing is pinned", () => {
    expect(plan({ threads: 3 }, "host", [0, 1, 2, 3])).toMatchObject([
      { threads: 1, pin: "0" },
      { threads: 2, pin: "1,2" },
    ]);
    expect(plan({ threads: 6 }, "host", [0, 1, 2, 3])).toMatchObject([
      { threads: 3, pin: "none" },
      { threads: 3, pin: "none" },
    ]);
  });
});
