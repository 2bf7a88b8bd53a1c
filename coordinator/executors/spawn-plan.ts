/** Which executor processes a stack starts, and with how many threads. */
import { allowedCpus } from "../../native/cpus.js";
import { isCard } from "../../native/libraries.js";
import type { ChosenDevice } from "./choose-device.js";

export interface SpawnOptions {
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
 * Divides threads among the executors, the GPU executor first; every executor gets at least one. Threads are not pinned:
 * a pinned one waits for its CPU while another process has it, and the others wait for what it has taken. Beside one
 * busy process on two CPUs decoding keeps 48 % of its rate when pinned, 61 % when not, and alone it is as fast.
 */
export function planExecutors(
  options: SpawnOptions,
  device: ChosenDevice["device"],
  cpus: number = allowedCpus().length,
): PlannedExecutor[] {
  const processes = options.cpuExecutors + (device === "off" ? 0 : 1);
  // A card's executor has one thread, which mostly sleeps.
  const computing = isCard(device) ? options.cpuExecutors : processes;
  const threads = Math.max(options.threads ?? cpus, computing);
  return Array.from({ length: processes }, (_, index): PlannedExecutor => {
    const place = index - (processes - computing);
    const share =
      place < 0 ? 1 : Math.floor(threads / computing) + (place >= computing - (threads % computing) ? 1 : 0);
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
