import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** A card emulated on the CPU takes the part of the simulated one, and is far slower. */
const slowness = process.env.THERMOCLINE_TEST_GPU === "emulated" ? 10 : 1;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Engines and child processes hold native state: a process each, not a worker thread.
    pool: "forks",
    // By default one core is left to vitest itself, which has little to do: of two cores that is half.
    maxWorkers: availableParallelism(),
    // Deadlines for machines far slower than the slowest we test on; no test waits for one to pass.
    testTimeout: 120_000 * slowness,
    hookTimeout: 120_000 * slowness,
    teardownTimeout: 10_000,
  },
});
