/** llama.cpp's CUDA build: whether it can run here, and on which card. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { ThermoclineError } from "../proto/errors.js";
import { ROOT } from "./repository.js";

const LIBRARY = "node-llama-cpp";
const BUILD = "@node-llama-cpp/linux-x64-cuda";
/** node-llama-cpp takes it where the first one's CUDA libraries are missing; it lacks everything else. */
const BUILD_FOR_OLDER_CUDA = "@node-llama-cpp/linux-x64-cuda-ext";
const BACKENDS = [
  [BUILD, "bins/linux-x64-cuda/libggml-cuda.so"],
  [BUILD_FOR_OLDER_CUDA, "bins/linux-x64-cuda/fallback/libggml-cuda.so"],
] as const;

const packageFile = z.object({ version: z.string() });

export interface CudaBuildSearch {
  /** A folder of npm packages. */
  modules?: string;
  /** Names of the libraries that a shared object needs and that are not on this machine. */
  missingLibraries?: (path: string) => string[];
}

/** @returns why llama.cpp's CUDA build cannot run here, as one sentence with what to do; null when nothing is in its way */
export function whyNoCudaBuild({
  modules = join(ROOT, "node_modules"),
  missingLibraries = missingBy,
}: CudaBuildSearch = {}): string | null {
  const wanted = versionOf(modules, LIBRARY);
  if (wanted === null) return `${LIBRARY} is not installed: run npm install`;
  const found = versionOf(modules, BUILD);
  if (found !== wanted) {
    const state = found === null ? "is not installed" : `is ${found} and not ${wanted}`;
    return `llama.cpp's CUDA build (${BUILD}) ${state}: run npm install --no-save ${BUILD}@${wanted}`;
  }
  const lacks = BACKENDS.filter(([name]) => versionOf(modules, name) === wanted).map(([name, path]) =>
    missingLibraries(join(modules, name, path)),
  );
  if (lacks.some((libraries) => libraries.length === 0)) return null;
  return (
    `llama.cpp's CUDA build needs ${lacks.map((libraries) => libraries.join(", ")).join(" or else ")}, which this machine ` +
    "does not have: install the NVIDIA driver and CUDA's runtime and cuBLAS libraries, or name their folder in LD_LIBRARY_PATH"
  );
}

/** @throws ThermoclineError FAILED_PRECONDITION where it cannot run */
export function requireCudaBuild(): void {
  const problem = whyNoCudaBuild();
  if (problem !== null) throw new ThermoclineError("FAILED_PRECONDITION", problem);
}

/** Of several cards llama.cpp takes all, and our executor the first: from here on it sees that one. */
export function onlyFirstCard(env: NodeJS.ProcessEnv = process.env): void {
  const [first = "0"] = (env.CUDA_VISIBLE_DEVICES ?? "0").split(",");
  env.CUDA_VISIBLE_DEVICES = first;
}

function versionOf(modules: string, name: string): string | null {
  const path = join(modules, name, "package.json");
  if (!existsSync(path)) return null;
  const parsed = packageFile.safeParse(JSON.parse(readFileSync(path, "utf8")));
  return parsed.success ? parsed.data.version : null;
}

function missingBy(path: string): string[] {
  const { stdout } = spawnSync("ldd", [path], { encoding: "utf8" });
  return [...(stdout ?? "").matchAll(/^\s*(\S+) => not found$/gm)].flatMap(([, name]) =>
    // Its own libraries are loaded before it.
    name === undefined || name.startsWith("libggml") ? [] : [name],
  );
}
