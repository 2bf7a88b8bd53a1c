import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { onlyFirstCard, whyNoCudaBuild } from "../../bench/llama-cpp-cuda.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const LIBRARY = "node-llama-cpp";
const BUILD = "@node-llama-cpp/linux-x64-cuda";

let count = 0;
function modules(packages: Record<string, string>): string {
  const path = join(folder, String(count++));
  for (const [name, version] of Object.entries(packages)) {
    mkdirSync(join(path, name), { recursive: true });
    writeFileSync(join(path, name, "package.json"), JSON.stringify({ name, version }));
  }
  return path;
}

const none = () => [];
const COMMAND = `run npm install --no-save ${BUILD}@3.1.0`;

test.each<[Record<string, string>, string]>([
  [{}, "node-llama-cpp is not installed: run npm install"],
  [{ [LIBRARY]: "3.1.0" }, `llama.cpp's CUDA build (${BUILD}) is not installed: ${COMMAND}`],
  [
    { [LIBRARY]: "3.1.0", [BUILD]: "3.0.0" },
    `llama.cpp's CUDA build (${BUILD}) is 3.0.0 and not 3.1.0: ${COMMAND}`,
  ],
])("with %j it says what to run", (packages, sentence) => {
  expect(whyNoCudaBuild({ modules: modules(packages), missingLibraries: none })).toBe(sentence);
});

test("names the libraries that are not there, unless the build for an older CUDA has its own", () => {
  const both = modules({ [LIBRARY]: "3.1.0", [BUILD]: "3.1.0", [`${BUILD}-ext`]: "3.1.0" });
  const lacks = (newer: string[], older: string[]) => ({
    modules: both,
    missingLibraries: (path: string) => (path.includes("-ext/") ? older : newer),
  });
  expect(whyNoCudaBuild(lacks([], ["libcublas.so.12"]))).toBeNull();
  expect(whyNoCudaBuild(lacks(["libcublas.so.13"], []))).toBeNull();
  expect(whyNoCudaBuild(lacks(["libcudart.so.13", "libcublas.so.13"], ["libcublas.so.12"]))).toMatch(
    /needs libcudart\.so\.13, libcublas\.so\.13 or else libcublas\.so\.12, which this machine does not have: install /,
  );
});

test("of a machine's cards the peer sees the one that our executor takes", () => {
  const seen = (visible: string | undefined) => {
    const env: NodeJS.ProcessEnv = visible === undefined ? {} : { CUDA_VISIBLE_DEVICES: visible };
    onlyFirstCard(env);
    return env.CUDA_VISIBLE_DEVICES;
  };
  expect([seen(undefined), seen("2,3"), seen("1")]).toEqual(["0", "2", "1"]);
});
