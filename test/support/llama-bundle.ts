/**
 * Files of the llama.cpp source tree that the npm package node-llama-cpp carries as a git bundle: vocabularies with
 * tokenizer vectors (`models/ggml-vocab-*.gguf` with `.inp` and `.out`) and chat templates (`models/templates`).
 *
 * The bundle is cloned once into a folder under the system's temporary one, named by package version and user, and
 * files are taken out of the clone as they are asked for. Both end in a rename, so parallel workers may race.
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const packageFolder = fileURLToPath(new URL("../../node_modules/node-llama-cpp/", import.meta.url));

let cloned: string | null = null;

/** The folder that holds `repo.git` and `files`, made on first use. */
function cache(): string {
  if (cloned !== null) return cloned;
  const { version } = JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8")) as {
    version: string;
  };
  const folder = join(tmpdir(), `thermocline-test-llama-cpp-${version}-${userInfo().uid}`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const repository = join(folder, "repo.git");
  if (!existsSync(repository)) {
    const draft = mkdtempSync(join(folder, "clone-"));
    git([
      "clone",
      "--quiet",
      "--bare",
      join(packageFolder, "llama/gitRelease.bundle"),
      join(draft, "repo.git"),
    ]);
    renameUnlessThere(join(draft, "repo.git"), repository);
    rmSync(draft, { recursive: true, force: true });
  }
  cloned = folder;
  return folder;
}

function git(args: readonly string[]): Buffer {
  // A test run started by a git hook inherits GIT_DIR and its like, which would point these commands elsewhere.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("GIT_")));
  return execFileSync("git", args, { env, maxBuffer: 256 << 20, stdio: ["ignore", "pipe", "pipe"] });
}

function renameUnlessThere(from: string, to: string): void {
  try {
    renameSync(from, to);
  } catch (error) {
    if (!existsSync(to)) throw error;
  }
}

/** Paths inside the llama.cpp tree that match `pattern`, sorted. */
export function llamaCppFiles(pattern: RegExp): string[] {
  const listing = git(["--git-dir", join(cache(), "repo.git"), "ls-tree", "-r", "-z", "--name-only", "HEAD"]);
  return listing
    .toString("utf8")
    .split("\0")
    .filter((path) => path !== "" && pattern.test(path));
}

/** Where a copy of a file of the llama.cpp tree lies on disk. Read it only: every test run shares it. */
export function llamaCppPath(path: string): string {
  const target = join(cache(), "files", path);
  if (!existsSync(target)) {
    const content = git(["--git-dir", join(cache(), "repo.git"), "cat-file", "blob", `HEAD:${path}`]);
    mkdirSync(dirname(target), { recursive: true });
    const draft = mkdtempSync(join(cache(), "file-"));
    writeFileSync(join(draft, "content"), content);
    renameSync(join(draft, "content"), target);
    rmSync(draft, { recursive: true, force: true });
  }
  return target;
}

/** The content of a file of the llama.cpp tree, such as `models/ggml-vocab-llama-spm.gguf`. */
export function llamaCppFile(path: string): Buffer {
  return readFileSync(llamaCppPath(path));
}
