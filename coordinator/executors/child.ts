/** One executor process that this coordinator started. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Readable, Writable } from "node:stream";
import { type Address, formatAddress, parseAddress } from "../../proto/address.js";
import { ThermoclineError } from "../../proto/errors.js";

/** From SIGTERM to SIGKILL; an executor's own shutdown takes less. */
const TERM_GRACE_MS = 1500;
/** Last lines of its log that are kept, to say why it ended. */
const KEPT_LINES = 20;

export interface ChildOptions {
  /** Names it in errors, such as "the GPU executor". */
  label: string;
  /** The compiled entry, such as dist/gpu-executor/main.js. */
  entry: string;
  /** Options besides --listen and --with-parent. */
  args: readonly string[];
  listen: Address;
  /** Gets each line of its log. */
  onLog: (line: string) => void;
}

export class Child {
  readonly pid: number | null;
  /** Resolves when the process has ended, with what happened: "was killed by SIGKILL". Never rejects. */
  readonly exited: Promise<string>;
  private readonly process: ChildProcessByStdio<Writable, Readable, Readable>;
  private readonly lines: string[] = [];
  private readonly listening: Promise<Address>;

  constructor(private readonly options: ChildOptions) {
    const { entry, args, listen, onLog } = options;
    this.process = spawn(
      process.execPath,
      [entry, "--listen", formatAddress(listen), "--with-parent", ...args],
      // A session of its own: Ctrl-C in a terminal is the coordinator's to handle, which then ends its executors.
      { stdio: ["pipe", "pipe", "pipe"], detached: true },
    );
    this.pid = this.process.pid ?? null;
    createInterface({ input: this.process.stderr }).on("line", (line) => {
      this.lines.push(line);
      if (this.lines.length > KEPT_LINES) this.lines.shift();
      onLog(line);
    });
    this.exited = new Promise((resolve) => {
      this.process.once("error", (error) => resolve(`could not be started: ${error.message}`));
      // "close" comes after "exit", when its last words have been read as well.
      this.process.once("close", (code, signal) => resolve(this.describeExit(code, signal)));
    });
    this.listening = new Promise((resolve) => {
      createInterface({ input: this.process.stdout }).on("line", (line) => {
        const address = readinessIn(line);
        if (address === null) onLog(line);
        else resolve(address);
      });
    });
  }

  /**
   * Resolves with the address it listens at. Kills it when it is not ready in time or `signal` aborts.
   * @throws ThermoclineError FAILED_PRECONDITION with the process's own last words when it ended instead,
   * DEADLINE_EXCEEDED when it was too slow
   */
  async ready(timeoutMs: number, signal: AbortSignal): Promise<Address> {
    const stop = new AbortController();
    const timeout = new Promise<never>((_, reject) => {
      const { label } = this.options;
      const expired = () =>
        reject(new ThermoclineError("DEADLINE_EXCEEDED", `${label} was not ready within ${timeoutMs} ms`));
      const timer = setTimeout(expired, timeoutMs);
      const cancelled = () => reject(signal.reason);
      signal.addEventListener("abort", cancelled, { once: true });
      stop.signal.addEventListener("abort", () => {
        clearTimeout(timer);
        signal.removeEventListener("abort", cancelled);
      });
      if (signal.aborted) cancelled();
    });
    const ended = this.exited.then((cause) => {
      throw new ThermoclineError("FAILED_PRECONDITION", `${this.options.label} ${cause}`);
    });
    try {
      return await Promise.race([this.listening, ended, timeout]);
    } catch (error) {
      this.kill();
      throw error;
    } finally {
      stop.abort();
    }
  }

  /** Asks it to end, and kills it when it does not; resolves when it has ended. */
  async stop(): Promise<void> {
    this.process.kill("SIGTERM");
    const force = setTimeout(() => this.kill(), TERM_GRACE_MS);
    await this.exited;
    clearTimeout(force);
  }

  kill(): void {
    this.process.kill("SIGKILL");
  }

  private describeExit(code: number | null, signal: NodeJS.Signals | null): string {
    if (signal !== null) return `was killed by ${signal}`;
    const words = lastWords(this.lines);
    return `exited with code ${code}${words === null ? "" : `: ${words}`}`;
  }
}

/** The last line that is no log record: what a process says when it cannot go on. */
function lastWords(lines: readonly string[]): string | null {
  return lines.findLast((line) => line.trim() !== "" && !line.startsWith("{")) ?? null;
}

/** The address in a readiness line, `{"ready":"unix:/path"}`; null for any other line. */
function readinessIn(line: string): Address | null {
  const ready = /^\{"ready":"([^"]+)"\}$/.exec(line)?.[1];
  return ready === undefined ? null : parseAddress(ready, "the readiness line");
}
