/** What executors are called in traces and metrics, where their processes' own names mean nothing. */
import type { ExecutorKind } from "../../native/index.js";

/**
 * "gpu-executor", "cpu-executor-0", "cpu-executor-1" and so on: the kind, and the number among the CPU executors.
 * @param kinds of all executors, in the schedule's order
 */
export function executorName(index: number, kinds: readonly ExecutorKind[]): string {
  const kind = kinds[index];
  if (kind === undefined) return `executor-${index}`;
  const number = kinds.slice(0, index).filter((other) => other === kind).length;
  return kind === "gpu" && number === 0 ? "gpu-executor" : `${kind}-executor-${number}`;
}
