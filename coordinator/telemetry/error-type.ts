import { ThermoclineError } from "../../proto/errors.js";

/** What `error.type` holds: a status code, or the class of an error nobody foresaw. */
export function errorType(error: Error): string {
  return error instanceof ThermoclineError ? error.code : error.name;
}
