/** A coordinator process for one call, on a Unix socket in a private folder. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { ThermoclineError } from "../../proto/errors.js";
import { createRuntimeFolder, removeRuntimeFolder } from "../executors/runtime-folder.js";
import { readable } from "../log.js";
import { addServingOptions, parseServingOptions } from "./serving-options.js";

/** Loading a large model from a slow disk takes minutes. */
const START_DEADLINE_MS = 30 * 60 * 1000;
/** The coordinator stops its executors within 2 s; later than that something hangs. */
const STOP_DEADLINE_MS = 3_000;

export interface PrivateStack {
  /** `unix:/path` of its public port. */
  address: string;
  /** Stops all of its processes and removes its socket. */
  stop(): Promise<void>;
}

/**
 * Starts `thermocline serve` with the serving options given to `command`.
 * @param signal ends the start when aborted
 */
export async function startPrivateStack(command: Command, signal: AbortSignal): Promise<PrivateStack> {
  parseServingOptions(command.opts());
  const folder = createRuntimeFolder();
  const address = `unix:${join(folder, "public.sock")}`;
  const main = join(dirname(fileURLToPath(import.meta.url)), "../main.js");
  const child = spawn(
    process.execPath,
    [
      main,
      "serve",
      "--listen",
      address,
      "--with-parent",
      "--log-level",
      "warn",
      ...servingArguments(command),
    ],
    // Its own process group: Ctrl-C reaches this process alone, which then stops the stack in order.
    { stdio: ["pipe", "pipe", "pipe"], detached: true },
  );
  createInterface({ input: child.stderr }).on("line", (line) => process.stderr.write(`${readable(line)}\n`));
  const exited = once(child, "exit");
  const stop = async () => {
    child.stdin.end();
    const killer = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
    await exited;
    clearTimeout(killer);
    removeRuntimeFolder(folder);
  };
  try {
    const lines = createInterface({ input: child.stdout });
    await Promise.race([
      once(lines, "line", { signal: AbortSignal.any([signal, AbortSignal.timeout(START_DEADLINE_MS)]) }),
      exited.then(() => {
        throw new ThermoclineError("UNAVAILABLE", "the server ended while starting; its own words are above");
      }),
    ]);
    return { address, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** The serving options that were given to `command`, as arguments for `serve`. */
function servingArguments(command: Command): string[] {
  return addServingOptions(new Command()).options.flatMap((option) => {
    const name = option.attributeName();
    if (command.getOptionValueSource(name) !== "cli") return [];
    return [option.long ?? "", String(command.getOptionValue(name))];
  });
}
