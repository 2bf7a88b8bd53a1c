/** What the figures were taken on: without it they say nothing. */
import { loadavg, release } from "node:os";
import { machine as findMachine, type InstructionSet, measureBandwidth } from "../native/index.js";
import { describeCommit } from "./repository.js";

export interface Machine {
  cpu: string;
  cores: number;
  /** The fastest one with kernels of its own, which engines pick by themselves. */
  instructionSet: InstructionSet;
  memoryBytes: number;
  /** Memory that can be read in a second, measured: by one core, and by all together. */
  oneCoreBytesPerS: number;
  allCoresBytesPerS: number;
  kernel: string;
  node: string;
  /** Short hash, with "+" when files differ from it; null outside a clone. */
  commit: string | null;
  /** Processes that wanted a core in the last minute, on average, before anything was measured. */
  loadBefore: number;
}

/** Well past any last-level cache. */
const BUFFER_BYTES = 512 * 1024 ** 2;
const BANDWIDTH_SECONDS = 1;

/** Takes some seconds, for the bandwidth. */
export async function describeMachine(): Promise<Machine> {
  const [loadBefore = 0] = loadavg();
  const { cpu, cores, instructionSets, memoryBytes, availableMemoryBytes } = findMachine();
  const read = (threads: number) =>
    measureBandwidth(threads, bufferBytes(availableMemoryBytes), BANDWIDTH_SECONDS);
  return {
    cpu,
    cores,
    instructionSet: instructionSets.at(-1) ?? "scalar",
    memoryBytes,
    oneCoreBytesPerS: await read(1),
    allCoresBytesPerS: await read(cores),
    kernel: `Linux ${release()}`,
    node: process.version,
    commit: await describeCommit(),
    loadBefore,
  };
}

/** Memory that `threads` threads can read in a second, on as many cores where there are so many. */
export async function readBytesPerS(machine: Machine, threads: number): Promise<number> {
  if (threads >= machine.cores) return machine.allCoresBytesPerS;
  if (threads === 1) return machine.oneCoreBytesPerS;
  return measureBandwidth(threads, bufferBytes(findMachine().availableMemoryBytes), BANDWIDTH_SECONDS);
}

function bufferBytes(availableMemoryBytes: number): number {
  return Math.min(BUFFER_BYTES, Math.floor(availableMemoryBytes / 4));
}
