// Everything that only a real card can show: kernels against the CPU's bits, plain and under compute-sanitizer, and the
// whole server on --gpu cuda.
//
//   node deploy/gpu-test.mjs [--kernels-only] [--allow-skip]
//
// --allow-skip: a machine without a card is no failure.
import { join } from "node:path";
import { BUILD, buildForCards, builtTests, findCommand, openCard, ROOT, run, say } from "./gpu.mjs";
import { testOptions } from "./gpu-options.mjs";
import { runScript } from "./setup.mjs";

const SANITIZERS = ["memcheck", "racecheck", "initcheck", "synccheck"];
/** Builds for sanitizers of the CPU, which no card is needed for. */
const WITHOUT_CARD = "test/native/native-tests.test.ts";

await runScript(async () => {
  const { kernelsOnly, allowSkip } = testOptions(process.argv.slice(2));
  const card = await openCard();
  if (card === null) return allowSkip ? 0 : 1;

  const failed = [];
  const passed = [];
  const check = async (what, command, args, options) => {
    say(what);
    const started = performance.now();
    const code = await run(command, args, options);
    const took = `${what}, ${((performance.now() - started) / 1000).toFixed(0)} s`;
    (code === 0 ? passed : failed).push(took);
    if (code !== 0) say(`failed: ${what}`);
  };

  const built = await buildForCards("gpu_tests", `${card.computeMajor}${card.computeMinor}`);
  const tests = built ? builtTests() : [];
  if (tests.length === 0) failed.push("there are no kernel tests to run");
  for (const test of tests) await check(test, join(BUILD, test), []);
  const sanitizer = findCommand("compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer");
  if (sanitizer === undefined) say("compute-sanitizer is not on this machine, so nothing is run under it");
  for (const tool of sanitizer === undefined ? [] : SANITIZERS) {
    for (const test of tests) {
      const args = ["--tool", tool, "--error-exitcode", "1", join(BUILD, test)];
      await check(`${test} under ${tool}`, sanitizer, args);
    }
  }
  if (!kernelsOnly) {
    const vitest = [join(ROOT, "node_modules/vitest/vitest.mjs"), "run", "test/e2e", "test/native"];
    await check(
      "the server and the engine on --gpu cuda",
      process.execPath,
      [...vitest, "--exclude", WITHOUT_CARD],
      { env: { THERMOCLINE_TEST_GPU: "cuda" } },
    );
  }

  say(`${card.name}: passed ${passed.length} of ${passed.length + failed.length}`);
  if (sanitizer === undefined) say("not run: compute-sanitizer's checks");
  if (failed.length > 0) say(`failed:\n  ${failed.join("\n  ")}`);
  return failed.length === 0 ? 0 : 1;
});
