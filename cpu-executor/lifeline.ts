/** An executor that was started as a child must not outlive the coordinator, however that one dies. */
import { dieWithParent } from "../native/index.js";

/**
 * Calls `onLost` once, when the parent has gone: it holds the other end of our stdin and never writes, so the pipe
 * ends with it. Besides, the kernel sends SIGTERM then, which reaches us even while the event loop does not read.
 */
export function holdLifeline(stdin: NodeJS.ReadStream, onLost: () => void): void {
  let lost = false;
  const lose = () => {
    if (lost) return;
    lost = true;
    onLost();
  };
  stdin.once("end", lose);
  stdin.once("close", lose);
  stdin.once("error", lose);
  stdin.resume();
  dieWithParent();
}
