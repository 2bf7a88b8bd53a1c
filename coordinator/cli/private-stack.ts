/** A coordinator process for one call, on a Unix socket in a private folder. */
import { type ChildProcess, spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { ThermoclineError } from "../../proto/errors.js";
import { createRuntimeFolder, removeRuntimeFolder } from "../executors/runtime-folder.js";
import { readable } from "../log.js";
import { addServingOptions } from "./serving-options.js";

/** Loading a large model from a slow disk takes minutes. */
const START_DEADLINE_MS = 30 * 60 * 1000;
/** The coordinator ends within 2 s; later than that something hangs. */
const STOP_DEADLINE_MS = 2_500;
/** How long a broken connection may wait to be explained by its process's end. */
const EXIT_NEWS_MS = 200;
/** How `thermocline serve` says why it ended. */
const LAST_WORDS = /^thermocline: /;

export interface PrivateStack {
  /** `unix:/path` of its public port. */
  address: string;
  /** The error to show for one of a call to it: that the process was killed says more than a broken connection. */
  explain(error: unknown): Promise<unknown>;
  /** Stops all of its processes and removes its socket; at most {@link STOP_DEADLINE_MS}. */
  stop(): Promise<void>;
}

/**
 * Starts `thermocline serve` with the serving options given to `command`.
 * @param signal ends the start when aborted
 * @throws ThermoclineError, or the signal's reason
 */
export async function startPrivateStack(command: Command, signal: AbortSignal): Promise<PrivateStack> {
  signal.throwIfAborted();
  const folder = createRuntimeFolder();
  const address = `unix:${join(folder, "public.sock")}`;
  const main = join(dirname(fileURLToPath(import.meta.url)), "../main.js");
  const logLevel = process.env.THERMOCLINE_LOG_LEVEL ?? "warn";
  const child = spawn(
    process.execPath,
    [main, "serve", "--listen", address, "--with-parent", "--log-level", logLevel].concat(
      servingArguments(command),
    ),
    // Its own session: Ctrl-C reaches this process alone, which then stops the stack in order.
    { stdio: ["pipe", "pipe", "pipe"], detached: true },
  );
  const ended = endOf(child);
  const stop = async () => {
    child.stdin.end();
    const killer = setTimeout(() => child.kill("SIGKILL"), STOP_DEADLINE_MS);
    await ended;
    clearTimeout(killer);
    removeRuntimeFolder(folder);
  };
  const explain = async (error: unknown) => {
    if (!(error instanceof ThermoclineError) || error.code !== "UNAVAILABLE") return error;
    const end = await Promise.race([ended, delay(EXIT_NEWS_MS, null, { ref: false })]);
    return end === null ? error : new ThermoclineError("UNAVAILABLE", end, { cause: error });
  };
  try {
    await untilReady(child, ended, signal);
    return { address, explain, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Resolves when the process prints its readiness line. */
async function untilReady(child: ChildProcess, ended: Promise<string>, signal: AbortSignal): Promise<void> {
  const over = new AbortController();
  try {
    await Promise.race([
      new Promise((resolve) => child.stdout?.once("data", resolve)),
      ended.then((end) => Promise.reject(new ThermoclineError("UNAVAILABLE", end))),
      rejectedBy(signal, over.signal),
      delay(START_DEADLINE_MS, null, { signal: over.signal }).then(() => {
        const minutes = START_DEADLINE_MS / 60_000;
        throw new ThermoclineError("DEADLINE_EXCEEDED", `the model was not loaded within ${minutes} minutes`);
      }),
    ]);
  } finally {
    over.abort();
  }
}

/** Rejects with the reason of `signal`; forgotten once `over` is aborted. */
function rejectedBy(signal: AbortSignal, over: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason), { once: true, signal: over });
  });
}

/** Passes the process's log on to our stderr. @returns how it ended, in its own words if it had any */
function endOf(child: ChildProcess): Promise<string> {
  let lastWords: string | null = null;
  if (child.stderr !== null) {
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (LAST_WORDS.test(line)) lastWords = line.replace(LAST_WORDS, "");
      else process.stderr.write(`${readable(line)}\n`);
    });
  }
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(`the server could not be started: ${error.message}`));
    // "close" comes after "exit", when its last words have been read as well.
    child.once("close", (code, signal) =>
      resolve(
        lastWords ??
          `the server of this call ${signal === null ? `exited with code ${code}` : `was killed by ${signal}`}`,
      ),
    );
  });
}

/** The serving options that were given to `command`, as arguments for `serve`. */
function servingArguments(command: Command): string[] {
  return givenServingOptions(command).flatMap(({ flag, value }) => [flag, value]);
}

/** The serving options on the command line of `command`. */
export function givenServingOptions(command: Command): { flag: string; value: string }[] {
  return addServingOptions(new Command()).options.flatMap((option) => {
    const name = option.attributeName();
    if (command.getOptionValueSource(name) !== "cli") return [];
    return [{ flag: option.long ?? "", value: String(command.getOptionValue(name)) }];
  });
}
