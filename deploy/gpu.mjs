// What the scripts for a machine with an NVIDIA card share: looking for the card, building what runs on it, saying so.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { setUp } from "./setup.mjs";

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
/** A folder of its own: the addon's is built by another tool with other options. */
export const BUILD = join(ROOT, "native/build-gpu");
/** In what `npm run pack:gpu` made: everything is built, and nothing can be installed. */
export const IS_PACKED = existsSync(join(ROOT, "packed.json"));

export function say(text) {
  process.stderr.write(`gpu: ${text}\n`);
}

/**
 * Sets the project up for this machine's card.
 * @returns the card, or null after saying in one sentence why there is none
 */
export async function openCard() {
  if (!existsSync("/dev/nvidiactl")) {
    say("there is no NVIDIA card on this machine (no /dev/nvidiactl): nothing was run");
    return null;
  }
  if (!IS_PACKED) {
    process.env.THERMOCLINE_CUDA = "on";
    await setUp({ production: false });
  }
  const { findCard } = await import(join(ROOT, "dist/native/find-card.js"));
  const found = await findCard("cuda");
  if (found.kind === "none") {
    say(`${found.problem}: nothing was run`);
    return null;
  }
  const { card } = found;
  const gib = (bytes) => `${(bytes / 1024 ** 3).toFixed(1)} GiB`;
  say(
    `${card.name}, compute capability ${card.computeMajor}.${card.computeMinor}, ${gib(card.freeBytes)} free of ` +
      `${gib(card.memoryBytes)}, driver of CUDA ${cudaVersion(card.driverVersion)}`,
  );
  return card;
}

function cudaVersion(number) {
  return `${Math.floor(number / 1000)}.${Math.floor((number % 1000) / 10)}`;
}

/** The first of these commands that is there. */
export function findCommand(...commands) {
  return commands.find((command) => spawnSync(command, ["--version"]).status === 0);
}

/** Kernel tests that have been built. */
export function builtTests() {
  return existsSync(BUILD) ? readdirSync(BUILD).filter((file) => /^gpu_\w+_test$/.test(file)) : [];
}

/**
 * Builds `target` of native/cuda.cmake for these compute capabilities, such as "86", unless it came built.
 * @returns whether it is there
 */
export async function buildForCards(target, architectures) {
  const came = target === "gpu_tests" ? builtTests().length > 0 : existsSync(join(BUILD, target));
  if (IS_PACKED && came) return true;
  if (findCommand("nvcc", "/usr/local/cuda/bin/nvcc") === undefined) {
    say(`${target} cannot be built: there is no nvcc on this machine`);
    return false;
  }
  const tests = ["-DTHERMOCLINE_TESTS=ON", `-DTHERMOCLINE_CUDA_TEST_ARCHITECTURES=${architectures}`];
  say(`building ${target} (native/build-gpu)`);
  if ((await run("cmake", ["-S", "native", "-B", BUILD, ...tests])) !== 0) return false;
  return (await run("cmake", ["--build", BUILD, "--parallel", "--target", target])) === 0;
}

/** Runs a command whose output is shown, or, with `onOutput`, whose stdout is given to it. @returns its exit code */
export function run(command, args, { env = {}, onOutput } = {}) {
  return new Promise((resolve) => {
    const stdio = ["ignore", onOutput === undefined ? "inherit" : "pipe", "inherit"];
    const child = spawn(command, args, { cwd: ROOT, stdio, env: { ...process.env, ...env } });
    child.stdout?.setEncoding("utf8").on("data", onOutput);
    child.on("error", (error) => {
      say(`cannot run ${command}: ${error.message}`);
      resolve(1);
    });
    child.on("close", (code) => resolve(code ?? 1));
  });
}
