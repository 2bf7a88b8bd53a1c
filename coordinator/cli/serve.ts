/** `thermocline serve`: the coordinator as a process. */
import { rmdirSync } from "node:fs";
import { dirname } from "node:path";
import { Command, Option } from "commander";
import { dieWithParent } from "../../native/index.js";
import { type Address, formatAddress, parseAddress } from "../../proto/address.js";
import { isErrno } from "../../proto/errno.js";
import { createLog } from "../log.js";
import { logLevelOption } from "./log-level.js";
import { addServingOptions, parseServingOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";

/** When the process ends even if something hangs, such as an executor in an uninterruptible sleep. */
const END_LIMIT_MS = 1950;

interface ServeOptions {
  listen: string;
  withParent: boolean;
  logLevel: string;
}

export function serveCommand(): Command {
  const command = new Command("serve")
    .description("Starts the server: a coordinator, and the executors it watches.")
    .option("--listen <address>", "host:port (port 0: any free one) or unix:/path", "127.0.0.1:50051")
    .addOption(
      new Option("--executor <address...>", "uses these running executors instead of starting any").conflicts(
        ["gpu", "cpuExecutors", "threads", "vramBudget", "repack"],
      ),
    );
  return addServingOptions(command)
    .option(
      "--live-profile [file]",
      "counts which neurons fire in a sample of steps, and adds that to a profile (default: the one beside the model)",
    )
    .option(
      "--with-parent",
      "ends when stdin ends, and removes its socket's folder if that is empty then",
      false,
    )
    .addOption(logLevelOption("info"))
    .addHelpText(
      "after",
      `
When requests are answered, one line is printed: {"ready":"ADDRESS"}.
SIGINT and SIGTERM end the server and all that it started within 2 s.

Examples:
  thermocline serve --model model.gguf --vram-budget 8GiB --otlp-endpoint http://127.0.0.1:4317
  thermocline serve --gpu off --threads 8
  thermocline serve --model model.gguf --live-profile
  thermocline serve --executor unix:/run/thermocline/gpu.sock unix:/run/thermocline/cpu.sock`,
    )
    .action(async () => serve(command));
}

async function serve(command: Command): Promise<void> {
  const { listen, withParent, logLevel } = command.opts<ServeOptions>();
  const options = parseServingOptions(command.opts());
  const address = parseAddress(listen, "--listen");
  const log = createLog("coordinator", logLevel);
  const stop = stopSignal(withParent);
  try {
    // Half of the program, without which the other commands start in half the time.
    const { startStack } = await import("../stack.js");
    const stack = await startStack(options, address, log, stop);
    process.stdout.write(`${JSON.stringify({ ready: formatAddress(stack.address) })}\n`);
    const failure = await Promise.race([aborted(stop), stack.failed]);
    await stack.close();
    if (failure !== null) throw failure;
  } catch (error) {
    if (!stop.aborted) throw error;
  } finally {
    if (withParent) removeFolderOf(address);
    // While it is read, the process goes on.
    process.stdin.pause();
  }
  // A client may still hold a connection half open.
  process.exit(0);
}

/** Aborted when the server is to end. */
function stopSignal(withParent: boolean): AbortSignal {
  const stop = new AbortController();
  const end = () => {
    if (stop.signal.aborted) return;
    setTimeout(() => process.exit(1), END_LIMIT_MS).unref();
    stop.abort();
  };
  onceInterrupted().signal.addEventListener("abort", end, { once: true });
  if (withParent) {
    dieWithParent();
    process.stdin.once("end", end).once("close", end).once("error", end).resume();
  }
  return stop.signal;
}

function aborted(signal: AbortSignal): Promise<null> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(null);
    else signal.addEventListener("abort", () => resolve(null), { once: true });
  });
}

/** The parent made it for this server's socket, and may have been killed. */
function removeFolderOf(address: Address): void {
  if (address.kind !== "unix") return;
  try {
    rmdirSync(dirname(address.path));
  } catch (error) {
    // The parent lives and was faster, or keeps something else in it.
    if (!isErrno(error, "ENOENT") && !isErrno(error, "ENOTEMPTY")) throw error;
  }
}
