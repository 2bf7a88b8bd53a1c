/**
 * What measuring and planning found, kept for the next start in the user's cache folder. Everything in it can be found
 * again, so that a damaged entry is passed over and a folder that cannot be written is no failure.
 */
import { createHash, randomUUID } from "node:crypto";
import { existsSync, mkdirSync, renameSync, unlinkSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, isAbsolute, join } from "node:path";
import { z } from "zod";
import { VERSION } from "../../proto/version.js";
import { placementMachineSchema } from "./machine.js";
import { readPlacementJson } from "./placement-json.js";

/** What was found about the machine for one kind of model. */
const machineEntry = z.strictObject({
  machine: placementMachineSchema,
  uniformShare: z.number().min(0).max(1),
});
export type KnownMachine = z.infer<typeof machineEntry>;

const planEntry = z.strictObject({
  choice: z.strictObject({
    layers: z.array(z.strictObject({ owner: z.enum(["gpu", "cpu"]), hot: z.number().int().nonnegative() })),
    head: z.enum(["gpu", "cpu"]),
  }),
  method: z.enum(["solver", "greedy"]),
  outcome: z.enum(["optimal", "work-limit", "left-out"]),
  /** The solver was allowed. */
  iterations: z.number().nonnegative(),
  leastS: z.number(),
  priceSPerByte: z.number(),
});
export type KnownPlan = z.infer<typeof planEntry>;

const KINDS = { measured: machineEntry, estimated: machineEntry, plan: planEntry } as const;
type Kind = keyof typeof KINDS;
type Entry<K extends Kind> = z.infer<(typeof KINDS)[K]>;

/** `thermocline` under XDG_CACHE_HOME, or under ~/.cache where that is not set. */
export function cacheFolder(env: NodeJS.ProcessEnv = process.env): string {
  const { XDG_CACHE_HOME } = env;
  // The standard has relative paths ignored.
  const parent = XDG_CACHE_HOME && isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : join(homedir(), ".cache");
  return join(parent, "thermocline");
}

/** A digest of whatever decides an entry; with another version of the program everything is found anew. */
export function cacheKey(parts: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify([VERSION, parts]))
    .digest("hex");
}

export class PlanCache {
  /** @param warn is told of damaged entries and of a folder that cannot be written */
  constructor(
    private readonly folder: string,
    private readonly warn: (line: string) => void,
  ) {}

  /** Null when there is none that can be used. */
  async read<K extends Kind>(kind: K, key: string): Promise<Entry<K> | null> {
    const path = this.path(kind, key);
    try {
      return (await readPlacementJson<unknown>(path, KINDS[kind], "cache entry")) as Entry<K> | null;
    } catch (error) {
      this.warn(`${String(error instanceof Error ? error.message : error)}; it is found anew`);
      return null;
    }
  }

  /** Whoever reads meanwhile finds the old entry or the new one. */
  write<K extends Kind>(kind: K, key: string, entry: Entry<K>): void {
    const path = this.path(kind, key);
    const next = `${path}.${randomUUID()}`;
    try {
      mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
      writeFileSync(next, `${JSON.stringify(entry)}\n`);
      renameSync(next, path);
    } catch (error) {
      // Nothing but what was begun here.
      if (existsSync(next)) unlinkSync(next);
      this.warn(
        `the placement is not kept for the next start: ${error instanceof Error ? error.message : error}`,
      );
    }
  }

  private path(kind: Kind, key: string): string {
    return join(this.folder, `${kind}-${key.slice(0, 32)}.json`);
  }
}
