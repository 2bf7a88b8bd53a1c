/** Builds the native tests, which need no Node, and runs them plain and under sanitizers. */
import { execFile, spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, test } from "vitest";

const NATIVE = fileURLToPath(new URL("../../native", import.meta.url));
const BUILD_TIMEOUT_MS = 1_200_000;
const RUN_TIMEOUT_MS = 1_200_000;

/** The addon's own folder, whose library is there already. */
const PLAIN = "build";
const VARIANTS = [
  { folder: PLAIN, sanitize: "" },
  { folder: "build-asan", sanitize: "address+undefined" },
  { folder: "build-tsan", sanitize: "thread" },
];

/** Runs a command to its end; a failure carries all it printed. */
function run(command: string, args: string[], timeout: number): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile(command, args, { timeout, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      if (error === null) resolve();
      else reject(new Error(`${command} ${args.join(" ")}: ${error.message}\n${stdout}\n${stderr}`));
    });
  });
}

/** Kernels for five kinds of cards take many minutes. */
const CARDS_TIMEOUT_MS = 2_400_000;
const nvcc = ["nvcc", "/usr/local/cuda/bin/nvcc"].find(
  (command) => spawnSync(command, ["--version"]).status === 0,
);

test.runIf(nvcc !== undefined)(
  "compiles for every card, warnings as errors",
  { timeout: CARDS_TIMEOUT_MS },
  async () => {
    const build = `${NATIVE}/${PLAIN}`;
    await run("cmake", ["-S", NATIVE, "-B", build, "-DTHERMOCLINE_TESTS=ON"], BUILD_TIMEOUT_MS);
    // All that is linked into the library is linked into these, and beside the addon it would be used.
    const targets = ["--target", "gpu_tests", "gpu_kernels_bench"];
    await run("cmake", ["--build", build, "--parallel", "2", ...targets], CARDS_TIMEOUT_MS);
  },
);

describe.each(VARIANTS)("native tests in $folder", ({ folder, sanitize }) => {
  const build = `${NATIVE}/${folder}`;

  // A rebuild of the addon is not to wait for tests.
  afterAll(
    () => run("cmake", ["-S", NATIVE, "-B", build, "-DTHERMOCLINE_TESTS=OFF"], BUILD_TIMEOUT_MS),
    BUILD_TIMEOUT_MS,
  );

  test("build", { timeout: BUILD_TIMEOUT_MS }, async () => {
    const options = ["-DTHERMOCLINE_TESTS=ON", `-DTHERMOCLINE_SANITIZE=${sanitize}`];
    await run("cmake", ["-S", NATIVE, "-B", build, ...options], BUILD_TIMEOUT_MS);
    await run("cmake", ["--build", build, "--parallel", "2"], BUILD_TIMEOUT_MS);
  });

  test("pass", { timeout: RUN_TIMEOUT_MS }, async () => {
    await expect(
      run(
        "ctest",
        ["--test-dir", build, "--parallel", "2", "--output-on-failure", "--no-tests=error"],
        RUN_TIMEOUT_MS,
      ),
    ).resolves.toBeUndefined();
  });
});
