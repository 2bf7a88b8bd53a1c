/** Which executor processes a stack starts, and with how many threads. */
import { allowedCpus } from "../../native/cpus.js";
import { type Driver, describeDriver, findDriver } from "../../native/driver.js";
import { ThermoclineError } from "../../proto/errors.js";

export type GpuChoice = "auto" | "cuda" | "host" | "off";

export interface SpawnOptions {
  gpu: GpuChoice;
  /** Memory of the GPU executor, in bytes. */
  vramBudgetBytes: number;
  cpuExecutors: number;
  /** Threads of all executors together; null takes one a CPU. */
  threads: number | null;
  /** Whether CPU executors copy weights into a faster layout, or compute from the model file's pages. */
  repack: boolean;
}

/** One process to start. */
export interface PlannedExecutor {
  name: string;
  kind: "cpu" | "gpu";
  /** Its command-line options, besides those every executor gets. */
  args: string[];
}

/**
 * Chooses the device for hot neurons.
 * @returns the device, and one line for the user when `auto` found no GPU
 * @throws ThermoclineError FAILED_PRECONDITION when `cuda` was asked for and cannot be had
 */
export function chooseDevice(
  choice: GpuChoice,
  driver: Driver = findDriver(),
): { device: "host" | "off"; note: string | null } {
  if (choice === "host" || choice === "off") return { device: choice, note: null };
  if (choice === "cuda") {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `--gpu cuda: this build has no CUDA device (${describeDriver(driver)}); use --gpu off, or --gpu host to ` +
        "simulate a card in RAM",
    );
  }
  const why = driver.controlDevice
    ? "this build has no CUDA device for the NVIDIA driver found here"
    : "no GPU was found";
  return { device: "off", note: `${why}: everything runs on the CPU (--gpu host simulates a card in RAM)` };
}

/**
 * Divides threads among the executors, the GPU executor first; every executor gets at least one. Threads are not pinned:
 * a pinned one waits for its CPU while another process has it, and the others wait for what it has taken. Beside one
 * busy process on two CPUs decoding keeps 48 % of its rate when pinned, 61 % when not, and alone it is as fast.
 */
export function planExecutors(
  options: SpawnOptions,
  device: "host" | "off",
  cpus: number = allowedCpus().length,
): PlannedExecutor[] {
  const processes = options.cpuExecutors + (device === "off" ? 0 : 1);
  const threads = Math.max(options.threads ?? cpus, processes);
  return Array.from({ length: processes }, (_, index): PlannedExecutor => {
    const share = Math.floor(threads / processes) + (index >= processes - (threads % processes) ? 1 : 0);
    const common = ["--threads", String(share)];
    if (device !== "off" && index === 0) {
      const budget = ["--device", device, "--vram-budget", String(options.vramBudgetBytes)];
      return { name: "gpu", kind: "gpu", args: [...common, ...budget] };
    }
    const number = index - (device === "off" ? 0 : 1);
    return {
      name: options.cpuExecutors === 1 ? "cpu" : `cpu-${number}`,
      kind: "cpu",
      args: options.repack ? common : [...common, "--no-repack"],
    };
  });
}
