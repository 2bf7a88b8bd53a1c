// Everything that only a real card can show: kernels against the CPU's bits, plain and under compute-sanitizer, and the
// server on --gpu cuda.
//
//   node deploy/gpu-test.mjs [--allow-skip]     --allow-skip: a machine without a card is no failure
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runScript, setUp } from "./setup.mjs";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** A folder of its own: the addon's is built by another tool with other options. */
const BUILD = join(ROOT, "native/build-gpu");
const SANITIZERS = ["memcheck", "racecheck", "initcheck", "synccheck"];

await runScript(async () => {
  if (!existsSync("/dev/nvidiactl"))
    return skip("there is no NVIDIA card on this machine (no /dev/nvidiactl)");
  process.env.THERMOCLINE_CUDA = "on";
  await setUp({ production: false });
  const { findCard } = await import(join(ROOT, "dist/native/find-card.js"));
  const found = await findCard("cuda");
  if (found.kind === "none") return skip(found.problem);
  const { name, computeMajor, computeMinor } = found.card;
  say(`${name}, compute capability ${computeMajor}.${computeMinor}`);

  const failed = [];
  const check = async (what, command, args, env = {}) => {
    say(what);
    if ((await run(command, args, env)) !== 0) failed.push(what);
  };
  await check("configuring the kernel tests", "cmake", [
    "-S",
    "native",
    "-B",
    BUILD,
    "-DTHERMOCLINE_TESTS=ON",
    `-DTHERMOCLINE_CUDA_TEST_ARCHITECTURES=${computeMajor}${computeMinor}`,
  ]);
  await check("building the kernel tests", "cmake", [
    "--build",
    BUILD,
    "--parallel",
    "--target",
    "gpu_tests",
  ]);
  const tests = existsSync(BUILD) ? readdirSync(BUILD).filter((file) => /^gpu_\w+_test$/.test(file)) : [];
  if (tests.length === 0) failed.push("there are no kernel tests to run");
  for (const test of tests) await check(test, join(BUILD, test), []);
  const sanitizer = ["compute-sanitizer", "/usr/local/cuda/bin/compute-sanitizer"].find(
    (command) => spawnSync(command, ["--version"]).status === 0,
  );
  if (sanitizer === undefined) failed.push("compute-sanitizer was not found, so nothing ran under it");
  else {
    for (const tool of SANITIZERS) {
      for (const test of tests) {
        await check(`${test} under ${tool}`, sanitizer, [
          "--tool",
          tool,
          "--error-exitcode",
          "1",
          join(BUILD, test),
        ]);
      }
    }
  }
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
  await check("the server on --gpu cuda", process.execPath, [vitest, "run", "test/e2e/card.test.ts"], {
    THERMOCLINE_TEST_GPU: "cuda",
  });
  if (failed.length === 0) {
    say(`passed: ${tests.length} kernel tests, plain and under ${SANITIZERS.join(", ")}, and the server`);
    return 0;
  }
  say(`failed:\n  ${failed.join("\n  ")}`);
  return 1;
});

function skip(why) {
  say(`${why}: nothing was tested`);
  return process.argv.includes("--allow-skip") ? 0 : 1;
}

function say(text) {
  process.stderr.write(`gpu: ${text}\n`);
}

/** @returns its exit code */
function run(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: ROOT, stdio: "inherit", env: { ...process.env, ...env } });
    child.on("error", (error) => {
      say(`cannot run ${command}: ${error.message}`);
      resolve(1);
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
}
