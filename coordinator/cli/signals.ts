/** SIGINT and SIGTERM as an abort signal, and as an exit code. */
import { constants } from "node:os";

/**
 * Within this time further signals are taken for the same one: npm passes on what the terminal has sent to everybody,
 * and a dying parent sends one with each of its threads.
 */
const SAME_SIGNAL_MS = 1000;

export interface Interruption {
  /** Aborted by the first SIGINT or SIGTERM; its reason is an {@link Interrupted}. */
  signal: AbortSignal;
  /** Gives the signals back their usual effect. */
  release(): void;
}

/** The end of a command that a signal asked for: no failure, but not success either. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  /** 128 + the signal's number, as shells have it. */
  readonly exitCode: number;

  constructor(signal: "SIGINT" | "SIGTERM") {
    super(`interrupted by ${signal}`);
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** A second signal, later than {@link SAME_SIGNAL_MS}, ends the process at once, as if nobody listened. */
export function onceInterrupted(): Interruption {
  const controller = new AbortController();
  let timer: NodeJS.Timeout | null = null;
  const listener = (signal: "SIGINT" | "SIGTERM") => {
    if (controller.signal.aborted) return;
    timer = setTimeout(release, SAME_SIGNAL_MS).unref();
    controller.abort(new Interrupted(signal));
  };
  const release = () => {
    if (timer !== null) clearTimeout(timer);
    process.off("SIGINT", listener);
    process.off("SIGTERM", listener);
  };
  process.on("SIGINT", listener);
  process.on("SIGTERM", listener);
  return { signal: controller.signal, release };
}
