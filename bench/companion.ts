/** A program that runs beside a benchmark in a process of its own, and talks with it by messages. */
import { type ChildProcess, fork } from "node:child_process";
import { ThermoclineError } from "../proto/errors.js";

export interface CompanionOptions {
  /** The compiled program. It must end by itself when its channel to us closes: see {@link endWithOwner}. */
  entry: string;
  /** Names it in errors, such as "llama.cpp". */
  label: string;
  /** Ends it when aborted. */
  signal: AbortSignal;
}

interface Waiter {
  resolve: (message: unknown) => void;
  reject: (error: unknown) => void;
}

export class Companion {
  readonly pid: number;
  private readonly process: ChildProcess;
  private readonly exited: Promise<void>;
  private readonly messages: unknown[] = [];
  private waiter: Waiter | null = null;
  /** Why no message comes any more. */
  private over: unknown = null;

  /** @throws the signal's reason when it is aborted already */
  constructor({ entry, label, signal }: CompanionOptions) {
    signal.throwIfAborted();
    this.process = fork(entry, [], {
      // Whatever our own Node was started with is not meant for it.
      execArgv: [],
      // Ours is for the report alone.
      stdio: ["ignore", 2, 2, "ipc"],
      // A session of its own: Ctrl-C in a terminal is the benchmark's to handle.
      detached: true,
    });
    this.pid = this.process.pid ?? 0;
    this.process.on("message", (message) => this.take(message));
    const onAbort = () => this.process.kill("SIGKILL");
    signal.addEventListener("abort", onAbort, { once: true });
    this.exited = new Promise((resolve) => {
      const end = (how: string) => {
        signal.removeEventListener("abort", onAbort);
        this.finish(
          signal.aborted
            ? signal.reason
            : new ThermoclineError("UNAVAILABLE", `${label} ${how}; its own words, if any, are above`),
        );
        resolve();
      };
      this.process.once("error", (error) => end(`could not be started: ${error.message}`));
      this.process.once("exit", (code, killer) =>
        end(killer === null ? `ended with code ${code}` : `was killed by ${killer}`),
      );
    });
  }

  send(message: object): void {
    // Where it cannot be delivered the process is about to end, which answers whoever waits.
    this.process.send(message, () => undefined);
  }

  /** The next message, whose form nobody has checked. One at a time. @throws ThermoclineError, or the signal's reason */
  next(): Promise<unknown> {
    if (this.messages.length > 0) return Promise.resolve(this.messages.shift());
    if (this.over !== null) return Promise.reject(this.over);
    return new Promise((resolve, reject) => {
      this.waiter = { resolve, reject };
    });
  }

  /** Ends it, wherever it is; there is nothing that it could lose. Idempotent. */
  async close(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.exited;
  }

  private take(message: unknown): void {
    const { waiter } = this;
    this.waiter = null;
    if (waiter === null) this.messages.push(message);
    else waiter.resolve(message);
  }

  private finish(reason: unknown): void {
    this.over = reason;
    this.waiter?.reject(reason);
    this.waiter = null;
  }
}

/** For the program itself: ends it at once when its owner is gone, however that went. */
export function endWithOwner(): void {
  process.once("disconnect", () => process.kill(process.pid, "SIGKILL"));
}

/** For the program itself: tells its owner something. */
export function tellOwner(message: object): void {
  process.send?.(message);
}
