/** The addon without its TypeScript face, for calls that the face does not let through. */
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

export const ADDON_PATH = fileURLToPath(
  new URL("../../native/build/Release/thermocline.node", import.meta.url),
);

export const addon = createRequire(import.meta.url)(ADDON_PATH) as Record<
  string,
  (...args: unknown[]) => unknown
>;

/** Calls an export; one that does not exist throws. */
export function callRaw(name: string, ...args: unknown[]): unknown {
  const method = addon[name];
  if (method === undefined) throw new Error(`the addon has no ${name}`);
  return method(...args);
}
