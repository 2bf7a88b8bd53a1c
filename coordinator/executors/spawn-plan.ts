/** Which executor processes a stack starts, and which cores each one computes on. */
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

/** Divides threads and CPUs among the executors, the GPU executor first; every executor gets at least one thread. */
export function planExecutors(
  options: SpawnOptions,
  device: "host" | "off",
  cpus: readonly number[] = allowedCpus(),
): PlannedExecutor[] {
  const processes = options.cpuExecutors + (device === "off" ? 0 : 1);
  const threads = Math.max(options.threads ?? cpus.length, processes);
  // Pinning two threads to one CPU would make them take turns even while another CPU idles.
  const pinned = threads <= cpus.length;
  let next = 0;
  return Array.from({ length: processes }, (_, index): PlannedExecutor => {
    const share = Math.floor(threads / processes) + (index >= processes - (threads % processes) ? 1 : 0);
    const pin = pinned ? cpus.slice(next, next + share).join(",") : "none";
    next += share;
    const common = ["--threads", String(share), "--pin", pin];
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
