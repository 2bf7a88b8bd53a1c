/** Says on stderr what a long command is at: a line that changes on a terminal, now and then a new one elsewhere. */
import { PROGRESS_AFTER_MS } from "./progress.js";

const LOG_EVERY_MS = 10_000;

export class StatusLine {
  private text = "";
  private shown = false;
  private timer: NodeJS.Timeout | null;

  constructor(private readonly stream: NodeJS.WriteStream = process.stderr) {
    this.timer = setTimeout(() => this.tick(), PROGRESS_AFTER_MS).unref();
  }

  /** What goes on now. */
  show(text: string): void {
    this.text = text;
    if (this.shown && this.stream.isTTY) this.write();
  }

  /** A line that stays. */
  note(text: string): void {
    const line = this.shown && this.stream.isTTY ? `\r\x1b[K${text}\n${this.text}` : `${text}\n`;
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
    this.timer = this.stream.isTTY ? null : setTimeout(() => this.tick(), LOG_EVERY_MS).unref();
  }

  private write(): void {
    this.stream.write(this.stream.isTTY ? `\r\x1b[K${this.text}` : `${this.text}\n`);
  }
}
