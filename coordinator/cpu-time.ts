/** Whose CPU time it was: this program's, or that of others on the same computer. Times are in ticks of 10 ms. */
import { readFileSync } from "node:fs";
import { allowedCpus } from "../native/cpus.js";

export interface CpuTime {
  /** Of the CPUs that this process may run on, idle or not. */
  all: number;
  /** What of it somebody used: a process, an interrupt, or another virtual machine. */
  used: number;
  /** What of that were this process and the children that have ended. */
  own: number;
}

/** Up to now. */
export function cpuTime(): CpuTime {
  const stat = readFileSync("/proc/stat", "utf8");
  const own = readFileSync("/proc/self/stat", "utf8");
  return { ...cpuTimeIn(stat, new Set(allowedCpus())), own: ownTimeIn(own) };
}

/** From the lines of /proc/stat. */
export function cpuTimeIn(stat: string, cpus: ReadonlySet<number>): Omit<CpuTime, "own"> {
  let [all, used] = [0, 0];
  for (const [, cpu, fields = ""] of stat.matchAll(/^cpu(\d+) (.*)$/gm)) {
    if (!cpus.has(Number(cpu))) continue;
    // What guests use is in what users use already.
    const ticks = fields.trim().split(" ").slice(0, 8).map(Number);
    const [, , , idle = 0, waiting = 0] = ticks;
    const total = ticks.reduce((sum, each) => sum + each, 0);
    all += total;
    used += total - idle - waiting;
  }
  return { all, used };
}

/** From the line of /proc/PID/stat: the process's own time and its ended children's, for it and in the kernel. */
export function ownTimeIn(stat: string): number {
  // The command before them may hold anything; the state is the third field (proc_pid_stat(5)).
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields.slice(14 - 3, 18 - 3).reduce((sum, field) => sum + Number(field), 0);
}

/** The share of the CPUs, 0 to 1, that others had in between. */
export function othersShare(before: CpuTime, after: CpuTime): number {
  const all = after.all - before.all;
  const others = after.used - before.used - (after.own - before.own);
  return all > 0 ? Math.max(0, others / all) : 0;
}
