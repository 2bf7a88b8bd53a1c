/** Command-line options that executors of every kind share. */
import { Command, Option } from "commander";
import { allowedCpus } from "../native/cpus.js";
import { INSTRUCTION_SETS, type InstructionSet, machine } from "../native/index.js";
import { type Address, parseAddress } from "../proto/address.js";
import { ThermoclineError } from "../proto/errors.js";
import { VERSION } from "../proto/version.js";
import { pinning } from "./pinning.js";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"];

export interface ProcessOptions {
  listen: Address;
  /** Whether to end with the process that started this one and holds the other end of stdin. */
  withParent: boolean;
  logLevel: string;
}

export interface ThreadOptions {
  threads: number;
  pinTo: number[];
  instructionSet: InstructionSet | null;
}

/** As commander hands them over. */
interface RawOptions {
  listen: string;
  threads: string;
  pin: string;
  instructionSet: InstructionSet | "auto";
  withParent: boolean;
  logLevel: string;
}

export function executorCommand(name: string, description: string): Command {
  return new Command(name)
    .description(description)
    .version(VERSION)
    .requiredOption("--listen <address>", "where to take orders: unix:/path or host:port")
    .option("--threads <n>", "threads that compute, or auto: one for each CPU this process may use", "auto")
    .option("--pin <cpus>", "none, auto, or one CPU for each thread, such as 0,2,4-7", "none")
    .addOption(
      new Option("--instruction-set <set>", "kernels to use")
        .choices(["auto", ...INSTRUCTION_SETS])
        .default("auto"),
    )
    .option("--with-parent", "end when stdin ends", false)
    .addOption(
      new Option("--log-level <level>", "least level that is logged")
        .choices(LOG_LEVELS)
        .env("THERMOCLINE_LOG_LEVEL")
        .default("info"),
    );
}

export function processOptions(command: Command): ProcessOptions {
  const { listen, withParent, logLevel } = command.opts<RawOptions>();
  return { listen: parseAddress(listen, "--listen"), withParent, logLevel };
}

/** @throws ThermoclineError INVALID_ARGUMENT, or UNIMPLEMENTED for an instruction set this CPU lacks */
export function threadOptions(command: Command): ThreadOptions {
  const raw = command.opts<RawOptions>();
  const threads = raw.threads === "auto" ? allowedCpus().length : Number(raw.threads);
  if (!Number.isInteger(threads) || threads < 1) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `--threads is "${raw.threads}"; give auto or a whole number of at least 1`,
    );
  }
  return { threads, pinTo: pinning(raw.pin, threads), instructionSet: instructionSet(raw.instructionSet) };
}

function instructionSet(asked: InstructionSet | "auto"): InstructionSet | null {
  if (asked === "auto") return null;
  const { instructionSets, cpu } = machine();
  if (!instructionSets.includes(asked)) {
    throw new ThermoclineError(
      "UNIMPLEMENTED",
      `--instruction-set ${asked} is not something this CPU (${cpu}) can run; it has ${instructionSets.join(", ")}`,
    );
  }
  return asked;
}
