import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Engines and child processes hold native state: a process each, not a worker thread.
    pool: "forks",
    // Deadlines for machines far slower than the slowest we test on; no test waits for one to pass.
    testTimeout: 60_000,
    hookTimeout: 60_000,
    teardownTimeout: 10_000,
  },
});
