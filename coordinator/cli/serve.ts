/** `thermocline serve`: the coordinator as a process. */
import { Command, Option } from "commander";
import { dieWithParent } from "../../native/index.js";
import { formatAddress, parseAddress } from "../../proto/address.js";
import { createLog } from "../log.js";
import { startStack } from "../stack.js";
import { addServingOptions, parseServingOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"];

interface ServeOptions {
  listen: string;
  withParent: boolean;
  logLevel: string;
}

export function serveCommand(): Command {
  const command = new Command("serve")
    .description("Starts the server: a coordinator, and the executors it watches.")
    .option("--listen <address>", "host:port or unix:/path", "127.0.0.1:50051")
    .addOption(
      new Option("--executor <address...>", "uses these running executors instead of starting any").conflicts(
        ["gpu", "cpuExecutors", "threads", "vramBudget"],
      ),
    );
  return addServingOptions(command)
    .option("--with-parent", "ends when stdin ends", false)
    .addOption(
      new Option("--log-level <level>", "least level that is logged, as JSON lines on stderr")
        .choices(LOG_LEVELS)
        .env("THERMOCLINE_LOG_LEVEL")
        .default("info"),
    )
    .addHelpText(
      "after",
      `
Examples:
  thermocline serve --model model.gguf --vram-budget 8GiB --otlp-endpoint http://127.0.0.1:4317
  thermocline serve --gpu off --threads 8
  thermocline serve --executor unix:/run/thermocline/gpu.sock unix:/run/thermocline/cpu.sock`,
    )
    .action(async () => serve(command));
}

async function serve(command: Command): Promise<void> {
  const { listen, withParent, logLevel } = command.opts<ServeOptions>();
  const options = parseServingOptions(command.opts());
  const address = parseAddress(listen, "--listen");
  const log = createLog("coordinator", logLevel);
  const { signal } = onceInterrupted();
  const over = new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
    if (!withParent) return;
    dieWithParent();
    process.stdin
      .on("end", resolve)
      .on("error", () => resolve())
      .resume();
  });
  const stop = new AbortController();
  void over.then(() => stop.abort());
  const stack = await startStack(options, address, log, stop.signal).catch((error: unknown) => {
    if (!stop.signal.aborted) throw error;
    return null;
  });
  if (stack === null) return leave(0);
  process.stdout.write(`{"ready":"${formatAddress(stack.address)}"}\n`);
  const failure = await Promise.race([over.then(() => null), stack.failed]);
  await stack.close();
  if (failure !== null) process.stderr.write(`thermocline: ${failure.message}\n`);
  leave(failure === null ? 0 : 1);
}

/** Ends the process although a client may still hold a connection half open. */
function leave(code: number): never {
  process.exit(code);
}
