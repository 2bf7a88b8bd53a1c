import { availableParallelism } from "node:os";
import { defineConfig, type TestProjectInlineConfiguration } from "vitest/config";

const EMULATED = "emulated";

/** Tests that run a part on the GPU do so on `device`; without one each on its own choice, which is mostly `host`. */
function suite(name: string, include: string, device?: string): TestProjectInlineConfiguration {
  // A card emulated on the CPU takes the part of the simulated one, and is far slower.
  const slowness = device === EMULATED ? 10 : 1;
  return {
    test: {
      name,
      include: [include],
      env: device === undefined ? {} : { THERMOCLINE_TEST_GPU: device },
      // Deadlines for machines far slower than the slowest we test on; no test waits for one to pass.
      testTimeout: 120_000 * slowness,
      hookTimeout: 120_000 * slowness,
      teardownTimeout: 10_000,
      // Engines and child processes hold native state: a process each, not a worker thread.
      pool: "forks",
    },
  };
}

const ALL = "test/**/*.test.ts";
/** All end-to-end tests but those that run a card, emulated or real, whatever device is named. */
const ON_ANY_DEVICE = "test/e2e/!(card).test.ts";
const named = process.env.THERMOCLINE_TEST_GPU;

export default defineConfig({
  test: {
    // By default one core is left to vitest itself, which has little to do: of two cores that is half.
    maxWorkers: availableParallelism(),
    projects:
      named === undefined
        ? [suite("host", ALL), suite(EMULATED, ON_ANY_DEVICE, EMULATED)]
        : [suite(named, ALL, named)],
  },
});
