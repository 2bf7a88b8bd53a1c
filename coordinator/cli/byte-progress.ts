/** A progress bar on stderr for work that is counted in bytes. */
import cliProgress from "cli-progress";
import { formatBytes } from "../../proto/units.js";

/** Shorter work ends before anybody wonders. */
const PROGRESS_AFTER_MS = 2000;

/** A bar, once the work has taken a while. */
export class ByteProgress {
  private readonly startMs = performance.now();
  private bar: cliProgress.SingleBar | null = null;

  /** @param doing what the work is, such as "converting" */
  constructor(private readonly doing: string) {}

  update(bytesDone: number, bytesTotal: number): void {
    if (this.bar === null) {
      if (performance.now() - this.startMs < PROGRESS_AFTER_MS) return;
      this.bar = new cliProgress.SingleBar({
        format: `${this.doing} {bar} {percentage}% | {done} of {total_text} | {eta} s left`,
        stream: process.stderr,
        clearOnComplete: true,
      });
      this.bar.start(bytesTotal, bytesDone, { done: "", total_text: formatBytes(bytesTotal) });
    }
    this.bar.update(bytesDone, { done: formatBytes(bytesDone) });
  }

  stop(): void {
    this.bar?.stop();
    this.bar = null;
  }
}
