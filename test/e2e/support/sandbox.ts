/**
 * A place where a test starts the product's processes, and which knows what they left behind.
 *
 * Every process started in it, and every process those start, carries the sandbox's folder in its environment, so none
 * can hide from {@link Sandbox.processes}.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { cardLibrary } from "../../../native/libraries.js";

export const ROOT = fileURLToPath(new URL("../../..", import.meta.url));
const DIST = join(ROOT, "dist");
export const MAIN = join(DIST, "coordinator/main.js");

/**
 * What `--gpu host` and `--device host` of a test stand for: with THERMOCLINE_TEST_GPU another device takes the part of
 * the simulated card.
 */
export const TEST_DEVICE = process.env.THERMOCLINE_TEST_GPU ?? "host";

/** The cases that refuse `--gpu cuda`, where nothing was built for it. */
export function whereCudaIsUnbuilt<T>(...cases: T[]): T[] {
  return cardLibrary("cuda") === null ? cases : [];
}

/** More than anything here takes on the slowest machine; a deadline, not an expectation. */
export const PATIENCE_MS = TEST_DEVICE === "emulated" ? 400_000 : 40_000;

/** Within which everything ends that is told to, or whose owner is gone; an emulated card's step cannot be cut short. */
export const END_MS = TEST_DEVICE === "emulated" ? 60_000 : 2000;

export type Role = "client" | "coordinator" | "gpu-executor" | "cpu-executor" | "other";

export interface SandboxProcess {
  pid: number;
  role: Role;
}

/** How a command ended. */
export interface Ended {
  /** Exit code, or the signal that killed it. */
  code: number | NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** A process whose output is collected. */
export class Command {
  stdout = "";
  stderr = "";
  readonly ended: Promise<Ended>;
  private readonly watchers = new Set<() => void>();

  constructor(readonly child: ChildProcess) {
    const collect = (stream: "stdout" | "stderr") =>
      child[stream]?.setEncoding("utf8").on("data", (text: string) => {
        this[stream] += text;
        for (const watcher of this.watchers) watcher();
      });
    collect("stdout");
    collect("stderr");
    this.ended = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", (code, signal) =>
        resolve({ code: code ?? signal, stdout: this.stdout, stderr: this.stderr }),
      );
    });
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** Resolves as soon as the output so far satisfies `holds`; rejects when the process ends before that. */
  async until(holds: (command: Command) => boolean, what: string): Promise<void> {
    let watcher = () => undefined;
    const held = new Promise<void>((resolve) => {
      watcher = () => {
        if (holds(this)) resolve();
      };
      this.watchers.add(watcher);
      watcher();
    });
    const ended = this.ended.then(({ code, stderr }) => {
      if (!holds(this)) throw new Error(`the process ended (${code}) before: ${what}\n${stderr}`);
    });
    try {
      await inTime(Promise.race([held, ended]), what);
    } finally {
      this.watchers.delete(watcher);
    }
  }
}

/** What processes keep for each other beyond a sandbox: one for all of a test file, so that little is found twice. */
export const CACHE_HOME = mkdtempSync(join(tmpdir(), "thermocline-e2e-cache-"));
process.on("exit", () => rmSync(CACHE_HOME, { recursive: true, force: true }));

export class Sandbox {
  readonly path = mkdtempSync(join(tmpdir(), "thermocline-e2e-"));
  private readonly commands: Command[] = [];
  /** Every process ever seen here: arenas carry the pid of who made them. */
  private readonly seen = new Set<number>();

  /** Starts a Node script with arguments, on {@link TEST_DEVICE} where they say `host`. */
  node(script: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Command {
    const child = spawn(process.execPath, [script, ...onTestDevice(args)], {
      stdio: ["pipe", "pipe", "pipe"],
      env: {
        ...{ ...process.env, THERMOCLINE_LOG_LEVEL: undefined, XDG_CACHE_HOME: CACHE_HOME },
        ...{ ...env, XDG_RUNTIME_DIR: this.path },
      },
    });
    const command = new Command(child);
    this.commands.push(command);
    return command;
  }

  /** Starts the `thermocline` command. */
  thermocline(...args: string[]): Command {
    return this.node(MAIN, args);
  }

  /** Runs the `thermocline` command to its end. */
  async run(...args: string[]): Promise<Ended> {
    return inTime(this.thermocline(...args).ended, `thermocline ${args.join(" ")}`);
  }

  /** Starts `thermocline serve` on a free port and waits until it serves. */
  async serve(...args: string[]): Promise<Server> {
    const listen = args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
    const command = this.thermocline("serve", ...listen, ...args);
    await command.until(({ stdout }) => stdout.includes("\n"), "the readiness line");
    const { ready } = JSON.parse(command.stdout) as { ready: string };
    this.processes();
    return { command, address: ready, url: `http://${ready}` };
  }

  /** What runs in this sandbox now, the coordinator's executors in the order of their pids. */
  processes(): SandboxProcess[] {
    const found = readdirSync("/proc").flatMap((name) => {
      const pid = Number(name);
      return Number.isInteger(pid) && pid !== process.pid && this.holds(pid)
        ? [{ pid, role: roleOf(pid) }]
        : [];
    });
    for (const { pid } of found) this.seen.add(pid);
    return found;
  }

  /** The only process of that role. */
  pidOf(role: Role): number {
    const found = this.processes().filter((process) => process.role === role);
    const [only] = found;
    if (only === undefined || found.length > 1)
      throw new Error(`there are ${found.length} processes ${role}`);
    return only.pid;
  }

  /** Waits until a process of that role runs. */
  async untilThere(role: Role): Promise<void> {
    for (const end = Date.now() + PATIENCE_MS; ; await delay(5)) {
      if (this.processes().some((process) => process.role === role)) return;
      if (Date.now() > end) throw new Error(`there is no ${role}`);
    }
  }

  /** Everything that is left: processes, files and sockets, arenas. */
  leftovers(): string[] {
    const arenas = readdirSync("/dev/shm").filter((name) => {
      const creator = /^thermocline-(\d+)-/.exec(name)?.[1];
      return creator !== undefined && this.seen.has(Number(creator));
    });
    return [
      ...this.processes().map(({ pid, role }) => `process ${pid} (${role})`),
      ...readdirSync(this.path).map((name) => `file ${name}`),
      ...arenas.map((name) => `arena ${name}`),
    ];
  }

  /** Resolves when nothing is left; rejects with what there is after `deadlineMs`. */
  async untilClean(deadlineMs: number): Promise<void> {
    for (const end = Date.now() + deadlineMs; ; await delay(20)) {
      const left = this.leftovers();
      if (left.length === 0) return;
      if (Date.now() > end) throw new Error(`left behind after ${deadlineMs} ms: ${left.join(", ")}`);
    }
  }

  /** Kills what still runs and removes the folder. */
  async remove(): Promise<void> {
    for (let left = this.processes(); left.length > 0; left = this.processes()) {
      for (const { pid } of left) kill(pid);
      await delay(5);
    }
    await Promise.all(this.commands.map(({ ended }) => ended.catch(() => null)));
    rmSync(this.path, { recursive: true, force: true });
  }

  /** Zombies do not count: they are gone but for their parent's knowing. */
  private holds(pid: number): boolean {
    try {
      const environment = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
      return environment.includes(`XDG_RUNTIME_DIR=${this.path}`);
    } catch {
      // It has ended, or is somebody else's.
      return false;
    }
  }
}

function onTestDevice(args: readonly string[]): string[] {
  return args.map((arg, place) =>
    arg === "host" && ["--gpu", "--device"].includes(args[place - 1] ?? "") ? TEST_DEVICE : arg,
  );
}

export interface Server {
  command: Command;
  /** As its readiness line has it: `host:port` or `unix:/path`. */
  address: string;
  url: string;
}

/** The JSON lines that a server logged. */
export function logOf({ command }: Pick<Server, "command">): Record<string, unknown>[] {
  return command.stderr
    .split("\n")
    .filter((line) => line.startsWith("{"))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

function roleOf(pid: number): Role {
  const words = read(`/proc/${pid}/cmdline`).split("\0");
  if (words.includes(join(DIST, "gpu-executor/main.js"))) return "gpu-executor";
  if (words.includes(join(DIST, "cpu-executor/main.js"))) return "cpu-executor";
  if (words.includes("serve")) return "coordinator";
  return words.includes("generate") ? "client" : "other";
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** SIGKILL, also for one that may have ended meanwhile. */
export function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It was faster.
  }
}

/** Rejects when `work` takes longer than {@link PATIENCE_MS}. */
export async function inTime<T>(work: Promise<T>, what: string): Promise<T> {
  const over = new AbortController();
  const late = delay(PATIENCE_MS, null, { signal: over.signal, ref: false }).then(() => {
    throw new Error(`in vain: ${what}`);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    over.abort();
    late.catch(() => null);
  }
}
