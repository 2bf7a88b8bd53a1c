/** Contenders that take turns. */
import { setTimeout as delay } from "node:timers/promises";
import { interleaved } from "./statistics.js";

/** Before each turn: whoever had the one before has stopped spinning by then, and its threads sleep. */
const SETTLE_MS = 300;

/** Measures once. @param round whose number it is given; -1 is the one that warms up */
export type Contender<T> = (round: number) => Promise<T>;

/**
 * Gives every contender one turn that is not counted, and then one a round, see {@link interleaved}.
 * @returns each contender's measurements, by rounds
 */
export async function takeTurns<T>(
  what: string,
  contenders: readonly Contender<T>[],
  { runs, progress, signal }: { runs: number; progress: (text: string) => void; signal: AbortSignal },
): Promise<T[][]> {
  progress(`${what}: warming up`);
  for (const turn of contenders) await turn(-1);
  const measured = contenders.map((turn) => ({ turn, results: [] as T[] }));
  for (const [index, { turn, results }] of interleaved(measured, runs).entries()) {
    progress(`${what}: turn ${index + 1} of ${runs * contenders.length}`);
    await delay(SETTLE_MS, null, { signal });
    results.push(await turn(results.length));
  }
  return measured.map(({ results }) => results);
}
