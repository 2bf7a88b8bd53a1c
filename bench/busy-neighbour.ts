/** Keeps one core busy with nothing, wherever the kernel puts it; a program of its own. Says once that it has begun. */
import { endWithOwner, tellOwner } from "./companion.js";

/** How late it may see that its owner is gone. */
const SLICE_MS = 20;

endWithOwner();
tellOwner({ kind: "spinning" });
spin();

function spin(): void {
  const end = performance.now() + SLICE_MS;
  while (performance.now() < end);
  setImmediate(spin);
}
