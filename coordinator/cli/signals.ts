/** SIGINT and SIGTERM as an abort signal. */

export interface Interruption {
  /** Aborted by the first SIGINT or SIGTERM. */
  signal: AbortSignal;
  /** Gives the signals back their usual effect. */
  release(): void;
}

/** From the second signal on, the process ends at once, as if nobody listened. */
export function onceInterrupted(): Interruption {
  const controller = new AbortController();
  const listener = () => {
    release();
    controller.abort();
  };
  const release = () => {
    process.off("SIGINT", listener);
    process.off("SIGTERM", listener);
  };
  process.on("SIGINT", listener);
  process.on("SIGTERM", listener);
  return { signal: controller.signal, release };
}
