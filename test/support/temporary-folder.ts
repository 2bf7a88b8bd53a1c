/** A folder that is there for one test file. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

/** Call at a test file's top level. @returns the folder, which is removed after the file's tests */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "thermocline-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
