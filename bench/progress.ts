/** Tells the person waiting what is going on, on stderr. */

/** How often a log gets a line, at most, saying what goes on by then; a terminal's line is overwritten each time. */
const LOG_EVERY_MS = 2_000;

export interface Progress {
  /** What goes on now. */
  show(text: string): void;
  /** Something that stays. */
  note(text: string): void;
  /** Nothing goes on any more. */
  end(): void;
}

export function createProgress(stream: NodeJS.WriteStream): Progress {
  const clear = () => {
    if (stream.isTTY) stream.write("\r\x1b[K");
  };
  let latest = "";
  let timer: NodeJS.Timeout | null = null;
  const log = () => {
    timer = null;
    stream.write(`${latest}\n`);
  };
  return {
    show(text) {
      if (stream.isTTY) {
        clear();
        stream.write(text);
        return;
      }
      latest = text;
      timer ??= setTimeout(log, LOG_EVERY_MS);
    },
    note(text) {
      clear();
      stream.write(`${text}\n`);
    },
    end() {
      clear();
      if (timer !== null) clearTimeout(timer);
    },
  };
}
