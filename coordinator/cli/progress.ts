/** A progress bar on stderr for commands that write a model file. */
import cliProgress from "cli-progress";
import { formatBytes } from "../../proto/units.js";

/** Shorter work ends before anybody wonders. */
export const PROGRESS_AFTER_MS = 2000;

export class Progress {
  private readonly startMs = performance.now();
  private bar: cliProgress.SingleBar | null = null;

  /** @param verb what is being done, such as "converting" */
  constructor(private readonly verb: string) {}

  update(bytesDone: number, bytesTotal: number): void {
    const elapsedMs = performance.now() - this.startMs;
    if (this.bar === null) {
      if (elapsedMs < PROGRESS_AFTER_MS) return;
      this.bar = new cliProgress.SingleBar({
        format: `${this.verb} {bar} {percentage}% | {done} of {total_text} written, {rate}/s | {eta} s left`,
        stream: process.stderr,
        clearOnComplete: true,
      });
      this.bar.start(bytesTotal, bytesDone, { done: "", rate: "", total_text: formatBytes(bytesTotal) });
    }
    const rate = formatBytes(Math.round((bytesDone / elapsedMs) * 1000));
    this.bar.update(bytesDone, { done: formatBytes(bytesDone), rate });
  }

  stop(): void {
    this.bar?.stop();
    this.bar = null;
  }
}
