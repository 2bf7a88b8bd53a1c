// Makes a clone ready to run: compiler and cmake, npm packages, TypeScript and native builds. Does only what is not
// done yet. Needs nothing but Node.
//
//   node deploy/setup.mjs [--production]     --production leaves out what only tests need
import { spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const OLDEST_NODE = [20, 19];
const OLDEST_CMAKE = [3, 22];
/** Last lines of a failed command's output that are worth showing. */
const SHOWN_LINES = 40;

export class SetupError extends Error {}

/** Sets everything up. @param {{production: boolean}} options */
export async function setUp({ production }) {
  checkNode();
  await step("compiler and cmake", installToolchain);
  await step("npm packages", (progress) => installPackages(production, progress));
  await step("TypeScript build", buildTypeScript);
  await step("native build", (progress) => buildNative(production, progress));
}

/** Runs one step, showing what it is at and how long it took; silent when there was nothing to do. */
async function step(name, work) {
  const started = Date.now();
  const interactive = process.stderr.isTTY;
  let shown = false;
  const show = (text) => {
    if (interactive) process.stderr.write(`\r\x1b[K${name}: ${text}`);
    else if (!shown) process.stderr.write(`${name}: ${text}\n`);
    shown = true;
  };
  const changed = await work(show);
  if (changed) {
    const line = `${name}: done in ${((Date.now() - started) / 1000).toFixed(1)} s\n`;
    process.stderr.write(interactive ? `\r\x1b[K${line}` : line);
  }
}

function checkNode() {
  const version = process.versions.node.split(".").map(Number);
  if (isOlder(version, OLDEST_NODE)) {
    throw new SetupError(
      `Node ${process.versions.node} is too old: install Node ${OLDEST_NODE.join(".")} or newer (https://nodejs.org)`,
    );
  }
}

function isOlder(version, oldest) {
  return version[0] < oldest[0] || (version[0] === oldest[0] && version[1] < oldest[1]);
}

async function installToolchain(progress) {
  const missing = missingTools();
  if (missing.length === 0) return false;
  const install = `apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  const hasApt = spawnSync("apt-get", ["--version"]).status === 0;
  if (!hasApt)
    throw new SetupError(
      `install these with your package manager, then run this again: ${missing.join(", ")}`,
    );
  if (process.getuid?.() !== 0) {
    throw new SetupError(
      `missing: ${missing.join(", ")}. Install with: sudo apt-get update && sudo ${install}`,
    );
  }
  progress(`installing ${missing.join(", ")}`);
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["update", "-q"], { env: environment });
  await run("sh", ["-c", install], { env: environment });
  const still = missingTools();
  if (still.length > 0) throw new SetupError(`still missing after installation: ${still.join(", ")}`);
  return true;
}

function missingTools() {
  const missing = [];
  const compiles = spawnSync(process.env.CXX ?? "c++", ["-std=c++20", "-fsyntax-only", "-x", "c++", "-"], {
    input: "#include <atomic>\n#include <concepts>\nint main() { return 0; }\n",
  });
  if (compiles.status !== 0) missing.push("g++");
  if (spawnSync("make", ["--version"]).status !== 0) missing.push("make");
  const cmake = /version (\d+)\.(\d+)/.exec(spawnSync("cmake", ["--version"]).stdout?.toString() ?? "");
  if (cmake === null || isOlder([Number(cmake[1]), Number(cmake[2])], OLDEST_CMAKE)) missing.push("cmake");
  return missing;
}

async function installPackages(production, progress) {
  if (packagesAreInstalled(production)) return false;
  progress(production ? "installing (without test packages)" : "installing");
  await run(npm(), ["ci", "--no-audit", "--no-fund", ...(production ? ["--omit=dev"] : [])]);
  return true;
}

/** Whether node_modules holds every package this platform needs, in the lock file's version. */
function packagesAreInstalled(production) {
  const hidden = join(ROOT, "node_modules/.package-lock.json");
  if (!existsSync(hidden)) return false;
  const wanted = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")).packages;
  const present = JSON.parse(readFileSync(hidden, "utf8")).packages;
  return Object.entries(wanted).every(([path, entry]) => {
    const skipped = path === "" || entry.optional === true || entry.devOptional === true;
    if (skipped || (production && entry.dev === true)) return true;
    return present[path]?.version === entry.version && existsSync(join(ROOT, path));
  });
}

async function buildTypeScript(progress) {
  const folders = ["proto", "native", "coordinator", "gpu-executor", "cpu-executor", "bench"];
  const sources = folders.flatMap((folder) => filesUnder(folder, [".ts"]));
  return rebuild(
    "dist/.built",
    [...sources, "tsconfig.json", "tsconfig.build.json", "package-lock.json"],
    [],
    async () => {
      progress("compiling");
      rmSync(join(ROOT, "dist"), { recursive: true, force: true });
      await run(process.execPath, [
        join("node_modules", "typescript", "bin", "tsc"),
        "-p",
        "tsconfig.build.json",
      ]);
      // npx runs the file package.json names as it is, and tsc writes none that can be run.
      chmodSync(join(ROOT, "dist/coordinator/main.js"), 0o755);
    },
  );
}

/** Besides the addon: the device for NVIDIA cards where it can be built and used, and for tests the emulated one. */
async function buildNative(production, progress) {
  const sources = filesUnder("native", [".cc", ".h", ".cu", ".txt", ".cmake", ".json"]).filter(
    (file) => !/\/(tests|bench)\//.test(file),
  );
  const devices = [];
  if (wantsCuda()) devices.push("CUDA");
  if (!production) devices.push("EMULATED");
  return rebuild("native/build/.built", [...sources, "package-lock.json"], devices, async () => {
    progress("configuring");
    const cmakeJs = join("node_modules", "cmake-js", "bin", "cmake-js");
    const options = ["CUDA", "EMULATED"].map(
      (device) => `--CDTHERMOCLINE_${device}=${devices.includes(device) ? "ON" : "OFF"}`,
    );
    // By itself, compile configures only what was never configured.
    await run(process.execPath, [cmakeJs, "configure", "-d", "native", ...options]);
    await run(process.execPath, [cmakeJs, "compile", "-d", "native", ...options], {
      // make, unlike ninja, builds one file at a time unless told otherwise.
      env: { CMAKE_BUILD_PARALLEL_LEVEL: String(availableParallelism()), ...process.env },
      onLine: (line) => {
        // make counts in percent, ninja in files.
        const counted = /^\[\s*(\d+%|\d+\/\d+)\]/.exec(line);
        if (counted !== null) progress(counted[1]);
      },
    });
  });
}

/** THERMOCLINE_CUDA=on or off decides; otherwise nvcc and a card's driver do. */
function wantsCuda() {
  const asked = process.env.THERMOCLINE_CUDA;
  if (asked === "on") return true;
  if (asked === "off" || !existsSync("/dev/nvidiactl")) return false;
  return ["nvcc", "/usr/local/cuda/bin/nvcc"].some((nvcc) => spawnSync(nvcc, ["--version"]).status === 0);
}

/** Runs `build` unless the stamp says that it ran for exactly these files, and made at least these parts. */
async function rebuild(stamp, files, parts, build) {
  const fingerprint = createHash("sha256");
  for (const file of files.sort()) fingerprint.update(`${file}\0`).update(readFileSync(join(ROOT, file)));
  const wanted = `${process.arch} ${fingerprint.digest("hex")}`;
  const stampFile = join(ROOT, stamp);
  if (existsSync(stampFile)) {
    const [built, made = ""] = readFileSync(stampFile, "utf8").trimEnd().split("\n");
    if (built === wanted && parts.every((part) => made.split(" ").includes(part))) return false;
  }
  await build();
  mkdirSync(dirname(stampFile), { recursive: true });
  writeFileSync(stampFile, `${wanted}\n${parts.join(" ")}\n`);
  return true;
}

function filesUnder(folder, endings) {
  return readdirSync(join(ROOT, folder)).flatMap((name) => {
    const path = `${folder}/${name}`;
    if (statSync(join(ROOT, path)).isDirectory()) {
      return name.startsWith("build") || name === "node_modules" ? [] : filesUnder(path, endings);
    }
    return endings.some((ending) => name.endsWith(ending)) ? [path] : [];
  });
}

function npm() {
  return process.platform === "win32" ? "npm.cmd" : "npm";
}

/** Runs a command quietly; a failure shows the end of what it printed. */
function run(command, args, { env = process.env, onLine = () => undefined } = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: ROOT, env, stdio: ["ignore", "pipe", "pipe"] });
    const lines = [];
    for (const stream of [child.stdout, child.stderr]) {
      let rest = "";
      stream.setEncoding("utf8").on("data", (text) => {
        const parts = (rest + text).split("\n");
        rest = parts.pop() ?? "";
        for (const line of parts) {
          lines.push(line);
          onLine(line);
        }
      });
    }
    child.on("error", (error) => reject(new SetupError(`cannot run ${command}: ${error.message}`)));
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else {
        const end = lines.slice(-SHOWN_LINES).join("\n");
        reject(new SetupError(`${command} ${args.join(" ")} failed (${signal ?? `exit ${code}`}):\n${end}`));
      }
    });
  });
}

/** Runs `main`, printing a SetupError as what it is: something for the reader to act on. */
export async function runScript(main) {
  try {
    process.exitCode = (await main()) ?? 0;
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`\n${error.message}\n`);
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await runScript(() => setUp({ production: process.argv.includes("--production") }));
}
