/** JSON files of a model folder, checked against a schema. */
import { readFile } from "node:fs/promises";
import { z } from "zod";
import { isErrno } from "../../proto/errno.js";
import { ThermoclineError } from "../../proto/errors.js";

/**
 * @returns null when there is no such file
 * @throws ThermoclineError FAILED_PRECONDITION (it cannot be read), DATA_LOSS (no JSON, or not of this schema)
 */
export async function readJsonFile<T>(path: string, schema: z.ZodType<T>): Promise<T | null> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (isErrno(error, "ENOENT")) return null;
    throw new ThermoclineError("FAILED_PRECONDITION", `${path}: cannot be read: ${String(error)}`, {
      cause: error,
    });
  }
  return parseJson(path, text, schema);
}

/** The same for text that was read from `path`. */
export function parseJson<T>(path: string, text: string, schema: z.ZodType<T>): T {
  const damaged = (what: string, cause: unknown) =>
    new ThermoclineError("DATA_LOSS", `${path}: ${what}; get the model again`, { cause });
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw damaged(`is not valid JSON: ${String(error)}`, error);
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) throw damaged(z.prettifyError(parsed.error).replaceAll("\n", " "), parsed.error);
  return parsed.data;
}
