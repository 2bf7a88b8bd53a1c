/** Says on stderr what a long command is at: a line that changes on a terminal, now and then a new one elsewhere. */
import { PROGRESS_AFTER_MS } from "./progress.js";

const REFRESH_MS = 1000;
const LOG_EVERY_MS = 10_000;

export class StatusLine {
  private text = "";
  private limitMs: number | null = null;
  private sinceMs = 0;
  private shown = false;
  /** The line that stands on the terminal. */
  private written = "";
  private timer: NodeJS.Timeout | null;

  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {
    this.timer = setTimeout(() => this.tick(), PROGRESS_AFTER_MS).unref();
  }

  /**
   * What goes on now.
   * @param limitMs when it ends at the latest, from now on; then the line counts the seconds
   */
  show(text: string, limitMs: number | null = null): void {
    this.text = text;
    this.limitMs = limitMs;
    this.sinceMs = performance.now();
    if (this.shown && this.stream.isTTY) this.write();
  }

  /** A line that stays. */
  note(text: string): void {
    const line = this.shown && this.stream.isTTY ? `\r\x1b[K${text}\n${this.written}` : `${text}\n`;
    this.stream.write(line);
  }

  /** Nothing goes on any more. Idempotent. */
  end(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    if (this.shown && this.stream.isTTY) this.stream.write("\r\x1b[K");
    this.shown = false;
  }

  private tick(): void {
    this.shown = true;
    if (this.text !== "") this.write();
    this.timer = setTimeout(() => this.tick(), this.stream.isTTY ? REFRESH_MS : LOG_EVERY_MS).unref();
  }

  private write(): void {
    const line = this.line();
    if (!this.stream.isTTY) this.stream.write(`${line}\n`);
    else if (line !== this.written) this.stream.write(`\r\x1b[K${line}`);
    this.written = line;
  }

  private line(): string {
    if (this.limitMs === null) return this.text;
    const seconds = Math.floor((performance.now() - this.sinceMs) / 1000);
    return `${this.text}: ${seconds} s of at most ${Math.round(this.limitMs / 1000)} s`;
  }
}
