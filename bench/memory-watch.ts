/** The most memory that processes used while they were watched. */
import { isRunning, processTree, proportionalBytes } from "./process-tree.js";

/** Short against a compiler's life, and a few percent of one core. */
const POLL_MS = 100;

export interface MemoryWatch {
  /** Ends the watch. @returns the largest sum of proportional set sizes seen, in bytes */
  stop(): number;
}

/**
 * Looks at the memory of a process and all below it until it is stopped.
 * @param counts whether a process is among those meant; null means all
 */
export function watchMemory(root: number, counts: ((pid: number) => boolean) | null = null): MemoryWatch {
  let peak = 0;
  const look = () => {
    const members = processTree(root).filter((pid) => counts === null || counts(pid));
    const bytes = members.reduce((sum, pid) => sum + proportionalBytes(pid), 0);
    peak = Math.max(peak, bytes);
  };
  const timer = setInterval(look, POLL_MS);
  return {
    stop: () => {
      clearInterval(timer);
      if (isRunning(root)) look();
      return peak;
    },
  };
}
