/** Tells the person waiting what is going on, on stderr. */

/** How often a log gets a line; a terminal's line is overwritten each time. */
const LOG_EVERY_MS = 2_000;

export interface Progress {
  /** What goes on now. */
  show(text: string): void;
  /** Something that stays. */
  note(text: string): void;
  /** Clears the terminal's line. */
  end(): void;
}

export function createProgress(stream: NodeJS.WriteStream): Progress {
  const clear = () => {
    if (stream.isTTY) stream.write("\r\x1b[K");
  };
  let loggedAt = Number.NEGATIVE_INFINITY;
  return {
    show(text) {
      const now = performance.now();
      if (!stream.isTTY && now - loggedAt < LOG_EVERY_MS) return;
      loggedAt = now;
      clear();
      stream.write(stream.isTTY ? text : `${text}\n`);
    },
    note(text) {
      clear();
      stream.write(`${text}\n`);
    },
    end: clear,
  };
}
