import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, normalize, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** Which top-level folders each one may import from; docs/architecture.md has the same table. */
const ALLOWED: Record<string, readonly string[]> = {
  proto: [],
  native: [],
  "cpu-executor": ["proto", "native"],
  "gpu-executor": ["proto", "native", "cpu-executor"],
  coordinator: ["proto", "native"],
  bench: ["proto", "native", "coordinator"],
};

function sourcesOf(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.startsWith("build"))
    .map((file) => join(folder, file));
}

/** Relative imports of a file, as paths from the root. */
function importsOf(file: string): string[] {
  const text = readFileSync(join(ROOT, file), "utf8");
  return [...text.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map((match) =>
    relative(ROOT, normalize(join(ROOT, dirname(file), match[1] ?? ""))),
  );
}

test.each(Object.entries(ALLOWED))("%s imports only what lies below it", (folder, allowed) => {
  const sources = sourcesOf(folder);
  expect(sources).not.toHaveLength(0);
  const upward = sources.flatMap((file) =>
    importsOf(file)
      .filter((target) => ![folder, ...allowed].includes(target.split("/")[0] ?? ""))
      .map((target) => `${file} -> ${target}`),
  );
  expect(upward).toEqual([]);
});
