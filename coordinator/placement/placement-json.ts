/** JSON files that people hand to `plan` and to what follows a plan, checked against a schema. */
import { readFile } from "node:fs/promises";
import type { z } from "zod";
import { isErrno } from "../../proto/errno.js";
import { ThermoclineError } from "../../proto/errors.js";

/**
 * @param what is read, such as "machine file"
 * @returns null when there is no such file
 * @throws ThermoclineError INVALID_ARGUMENT when it cannot be read, or is not what it should be
 */
export async function readPlacementJson<T>(
  path: string,
  schema: z.ZodType<T>,
  what: string,
): Promise<T | null> {
  const refuse = (why: string, cause: unknown) =>
    new ThermoclineError("INVALID_ARGUMENT", `the ${what} ${path} ${why}`, { cause });
  let json: unknown;
  try {
    json = JSON.parse(await readFile(path, "utf8"));
  } catch (error) {
    if (isErrno(error, "ENOENT")) return null;
    if (error instanceof SyntaxError) throw refuse(`is not valid JSON: ${error.message}`, error);
    throw refuse(`cannot be read: ${String(error)}`, error);
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = issue === undefined || issue.path.length === 0 ? "it" : issue.path.join(".");
  throw refuse(`does not have the right fields: ${where}: ${issue?.message ?? "unknown"}`, parsed.error);
}
