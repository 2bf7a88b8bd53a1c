/** An executor that was started as a child must not outlive the coordinator, however that one dies. */
import { readFileSync } from "node:fs";
import { dieWithParent } from "../native/index.js";

export class Lifeline {
  /** Resolves when the parent has gone. */
  readonly ended: Promise<void>;
  private readonly parent = process.ppid;

  /**
   * Calls `onLost` once, when the parent has gone: it holds the other end of our stdin and never writes, so the pipe
   * ends with it. Besides, the kernel sends SIGTERM then, which reaches us even while the event loop does not read.
   */
  constructor(stdin: NodeJS.ReadStream, onLost: () => void) {
    this.ended = new Promise((resolve) => {
      for (const event of ["end", "close", "error"]) stdin.once(event, () => resolve());
    });
    void this.ended.then(onLost);
    stdin.resume();
    dieWithParent();
  }

  /**
   * Whether the parent is dying or dead. The kernel's SIGTERM comes when its main thread has ended; its pipes and its
   * arena are closed when the last of its threads has, a little later.
   */
  get isBreaking(): boolean {
    return process.ppid !== this.parent || isDead(this.parent);
  }
}

function isDead(pid: number): boolean {
  try {
    return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return true;
  }
}
