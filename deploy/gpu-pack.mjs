// One archive of what a machine with a card needs to run test:gpu and bench:gpu, without network or npm: sources, builds,
// packages and Node itself. There: unpack it, then `sh run.sh test` or `sh run.sh bench`, with the scripts' options.
//
//   node deploy/gpu-pack.mjs [--out FILE] [--as-built] [--with-peer]
//
// --as-built packs what is built, and builds nothing. --with-peer makes a second archive beside it, of llama.cpp's CUDA
// build, to be unpacked in the same place; it is larger than the first, and needs CUDA's runtime and cuBLAS there.
import { spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { BUILD, buildForCards, findCommand, ROOT, run, say } from "./gpu.mjs";
import { runScript, SetupError, setUp } from "./setup.mjs";

const NAME = "thermocline-gpu";
const MOST_BYTES = 60e6;
/** For either program. */
const HARD = { XZ_OPT: "-9e -T0", ZSTD_CLEVEL: "19" };
/** For kernels that are compressed already. */
const LIGHT = { XZ_OPT: "-2 -T0", ZSTD_CLEVEL: "6" };
const SHOWN = 8;
const ARCHITECTURES = "75;80;86;89;90";
const FOLDERS = [
  "bench",
  "coordinator",
  "cpu-executor",
  "deploy",
  "dist",
  "gpu-executor",
  "models",
  "native",
  "proto",
  "test",
];
const FILES = ["package.json", "package-lock.json", "tsconfig.json", "vitest.config.ts"];
const LIBRARIES = ["thermocline.node", "libthermocline_cuda.so", "libthermocline_emulated.so"];
/** What tests of the server and the engine need beside the packages that run it. */
const TEST_PACKAGES = ["vitest"];
const PEER_PACKAGES = ["node-llama-cpp", "@node-llama-cpp/linux-x64-cuda"];
/** Only for building and checking. */
const BUILD_PACKAGES = [
  "typescript",
  "cmake-js",
  "node-addon-api",
  "node-api-headers",
  "@types/node",
  "@types/cli-progress",
];
const RUN = `#!/bin/sh
# sh run.sh test|bench [options]: what npm run test:gpu and bench:gpu do, with all that came with this file.
cd "$(dirname "$0")" || exit 1
case "$1" in
  test|bench) what=$1; shift ;;
  *) echo "usage: sh run.sh test|bench [options]" >&2; exit 2 ;;
esac
PATH="$PWD/runtime:$PATH"
export PATH
exec runtime/node "deploy/gpu-$what.mjs" "$@"
`;

await runScript(async () => {
  const { values } = parseArgs({
    options: {
      out: { type: "string" },
      "as-built": { type: "boolean", default: false },
      "with-peer": { type: "boolean", default: false },
    },
  });
  const zstd = findCommand("xz") === undefined;
  if (zstd && findCommand("zstd") === undefined)
    throw new SetupError("there is neither xz nor zstd: install one of them");
  const out = resolve(values.out ?? `${NAME}.tar.${zstd ? "zst" : "xz"}`);
  if (values["with-peer"]) checkPeer();
  if (!values["as-built"]) await build();
  const compress = zstd ? "--zstd" : "--xz";
  if (!(await pack(out, compress, HARD, fill, MOST_BYTES))) return 1;
  if (!values["with-peer"]) return 0;
  const peerOut = out.replace(/(\.tar\.\w+)?$/, "-peer$1");
  return (await pack(peerOut, compress, LIGHT, fillWithPeer, Number.POSITIVE_INFINITY)) ? 0 : 1;
});

/** @returns whether an archive of what `filling` puts into a folder was made, of at most so many bytes */
async function pack(out, compress, env, filling, mostBytes) {
  const stage = mkdtempSync(join(tmpdir(), `${NAME}-`));
  try {
    const folder = join(stage, NAME);
    mkdirSync(folder);
    filling(folder);
    say(`packing ${megabytes(bytesUnder(folder))} into ${out}`);
    const args = ["-C", stage, "--owner=0", "--group=0", compress, "-cf", out, NAME];
    if ((await run("tar", args, { env })) !== 0) return false;
    const { size } = statSync(out);
    say(`${out}: ${megabytes(size)}`);
    if (size <= mostBytes) return true;
    say(
      `that is more than ${megabytes(mostBytes)}; the largest, before compression:\n  ${largest(folder).join("\n  ")}`,
    );
    return false;
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

function checkPeer() {
  const missing = PEER_PACKAGES.filter((name) => !existsSync(join(ROOT, "node_modules", name)));
  if (missing.length > 0)
    throw new SetupError(`--with-peer: ${missing.join(" and ")} is not installed: run npm install`);
}

async function build() {
  process.env.THERMOCLINE_CUDA = "on";
  await setUp({ production: false });
  for (const target of ["gpu_tests", "gpu_kernels_bench"]) {
    if (!(await buildForCards(target, ARCHITECTURES))) throw new SetupError(`${target} was not built`);
  }
}

function fill(folder) {
  const isSource = (path) => !/\/native\/build[^/]*$|\.log$|\/node_modules$/.test(path);
  for (const name of FOLDERS)
    cpSync(join(ROOT, name), join(folder, name), { recursive: true, filter: isSource });
  for (const name of FILES) cpSync(join(ROOT, name), join(folder, name));
  for (const name of LIBRARIES)
    copyBuilt(join(ROOT, "native/build/Release", name), join(folder, "native/build/Release"));
  const programs = existsSync(BUILD)
    ? readdirSync(BUILD).filter((name) => /^gpu_\w+_(test|bench)$/.test(name))
    : [];
  if (programs.length === 0)
    say("kernel tests are not built, so the other machine needs cmake and nvcc for them");
  for (const name of programs) copyBuilt(join(BUILD, name), join(folder, "native/build-gpu"));
  copyPackages(neededPackages(), folder);
  copyBuilt(process.execPath, join(folder, "runtime"), "node");
  writeFileSync(join(folder, "run.sh"), RUN, { mode: 0o755 });
  writeFileSync(
    join(folder, "packed.json"),
    `${JSON.stringify({ arch: process.arch, node: process.versions.node })}\n`,
  );
}

/** llama.cpp for the benchmarks, less what the first archive has. */
function fillWithPeer(folder) {
  const there = neededPackages();
  // node-llama-cpp lists a package for every kind of machine.
  const wanted = PEER_PACKAGES.map((name) => `node_modules/${name}`);
  const isOther = (path) => path.startsWith("node_modules/@node-llama-cpp/") && !wanted.includes(path);
  const packages = [...neededPackages(PEER_PACKAGES)];
  copyPackages(
    packages.filter((path) => !there.has(path) && !isOther(path)),
    folder,
  );
}

function copyPackages(paths, folder) {
  for (const path of paths) {
    // A package's own packages are listed as well, those that are needed.
    const own = join(ROOT, path, "node_modules");
    cpSync(join(ROOT, path), join(folder, path), {
      recursive: true,
      filter: (from) => from !== own && !isAside(from),
    });
  }
}

/** Without its symbols, which nothing reads. */
function copyBuilt(from, folder, name = basename(from)) {
  if (!existsSync(from)) {
    say(`${from} is not built, and is left out`);
    return;
  }
  mkdirSync(folder, { recursive: true });
  cpSync(from, join(folder, name));
  spawnSync("strip", ["--strip-unneeded", join(folder, name)]);
}

/** What packages bring for people and for other tools. */
function isAside(path) {
  return /\.(map|md|d\.ts|d\.mts|d\.cts|ts|flow|bundle)$/.test(path) && statSync(path).isFile();
}

/** Paths under ROOT of all packages that these need, themselves included, on this platform. */
function neededPackages(names = [...runtimePackages(), ...TEST_PACKAGES]) {
  const { packages } = JSON.parse(readFileSync(join(ROOT, "node_modules/.package-lock.json"), "utf8"));
  const musl = !process.report.getReport().header.glibcVersionRuntime;
  const found = new Set();
  const find = (from, name) => {
    for (let at = from; ; at = dirname(at)) {
      const path = at === "." ? `node_modules/${name}` : `${at}/node_modules/${name}`;
      if (packages[path] !== undefined) return path;
      if (at === ".") return null;
    }
  };
  const add = (from, name) => {
    const path = BUILD_PACKAGES.includes(name) ? null : find(from, name);
    if (path === null || found.has(path) || !existsSync(join(ROOT, path))) return;
    const entry = packages[path];
    if (entry.libc !== undefined && !entry.libc.includes(musl ? "musl" : "glibc")) return;
    found.add(path);
    const needs = { ...entry.dependencies, ...entry.optionalDependencies, ...entry.peerDependencies };
    for (const each of Object.keys(needs)) {
      // What is wanted only if somebody else wants it is there because of them.
      if (entry.peerDependenciesMeta?.[each]?.optional !== true) add(path, each);
    }
  };
  for (const name of names) add(".", name);
  return found;
}

function runtimePackages() {
  return Object.keys(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")).dependencies);
}

function bytesUnder(path) {
  const status = statSync(path);
  if (!status.isDirectory()) return status.size;
  return readdirSync(path).reduce((sum, name) => sum + bytesUnder(join(path, name)), 0);
}

function largest(folder) {
  const parts = ["", "node_modules", "native"].flatMap((parent) =>
    readdirSync(join(folder, parent)).map((name) => join(parent, name)),
  );
  return parts
    .filter((path) => path !== "node_modules" && path !== "native")
    .map((path) => ({ path, bytes: bytesUnder(join(folder, path)) }))
    .sort((a, b) => b.bytes - a.bytes)
    .slice(0, SHOWN)
    .map(({ path, bytes }) => `${path}: ${megabytes(bytes)}`);
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
