/** The build's version. Coordinator and executors speak to each other only when theirs are the same. */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { isErrno } from "./errno.js";

/** `version` of the package this file belongs to, compiled (dist/proto) or not. */
export const VERSION: string = readVersion(dirname(fileURLToPath(import.meta.url)));

function readVersion(folder: string): string {
  for (let parent = dirname(folder); parent !== dirname(parent); parent = dirname(parent)) {
    const contents = readIfThere(join(parent, "package.json"));
    if (contents === null) continue;
    const { name, version } = JSON.parse(contents) as { name?: unknown; version?: unknown };
    if (name === "thermocline" && typeof version === "string") return version;
  }
  throw new Error("this build's package.json is missing");
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return null;
    throw error;
  }
}
