/** The repository this benchmark was built from. */
import { execFile } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

/** Its root, seen from dist/bench/. */
export const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

const runFile = promisify(execFile);
const GIT_DEADLINE_MS = 60_000;

/** @returns what git printed, less the last line's end */
export async function git(...args: string[]): Promise<string> {
  const { stdout } = await runFile("git", ["-C", ROOT, ...args], { timeout: GIT_DEADLINE_MS });
  return stdout.trimEnd();
}

/** The commit at hand, with "+" when files differ from it; null outside a clone. */
export async function describeCommit(): Promise<string | null> {
  try {
    const commit = await git("rev-parse", "--short", "HEAD");
    return (await git("status", "--porcelain", "--untracked-files=no")) === "" ? commit : `${commit}+`;
  } catch {
    return null;
  }
}
