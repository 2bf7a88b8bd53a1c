/** A process and everything it started: who they are, and their memory. */
import { readdirSync, readFileSync } from "node:fs";

/** A process and all processes below it, as /proc has them now. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number>();
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const stat = readIfThere(`/proc/${name}/stat`);
    if (stat !== null) parents.set(Number(name), parentIn(stat));
  }
  const tree = [root];
  for (const member of tree) {
    for (const [pid, parent] of parents) if (parent === member) tree.push(pid);
  }
  return tree;
}

/** The parent's pid in a line of /proc/PID/stat. */
export function parentIn(stat: string): number {
  return Number(fieldsOf(stat)[1]);
}

/** State, parent and so on (proc_pid_stat(5)); the command before them may hold anything. */
function fieldsOf(stat: string): string[] {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}

/** Whether a process is there and no mere entry that its parent has yet to collect. */
export function isRunning(pid: number): boolean {
  const stat = readIfThere(`/proc/${pid}/stat`);
  return stat !== null && fieldsOf(stat)[0] !== "Z";
}

/** The command line a process was started with, arguments parted by spaces; empty when it is gone. */
export function commandOf(pid: number): string {
  return (readIfThere(`/proc/${pid}/cmdline`) ?? "").replaceAll("\0", " ");
}

/**
 * Bytes of memory that a process uses: its proportional set size, in which a page that n processes share counts 1/n,
 * so that those of several processes can be added up. 0 when it is gone.
 */
export function proportionalBytes(pid: number): number {
  const kib = /^Pss:\s+(\d+) kB$/m.exec(readIfThere(`/proc/${pid}/smaps_rollup`) ?? "")?.[1];
  return Number(kib ?? 0) * 1024;
}

/** Processes come and go while they are looked at. */
function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code === "ENOENT" || code === "ESRCH") return null;
    throw error;
  }
}
