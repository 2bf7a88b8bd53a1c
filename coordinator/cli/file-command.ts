/** What commands that write a model file have in common. */
import { ThermoclineError } from "../../proto/errors.js";
import { describeSubstitutions, type Substitution } from "../model/stored-type.js";
import { Progress } from "./progress.js";
import { onceInterrupted } from "./signals.js";

export interface WrittenModel {
  summary: string;
  substitutions: readonly Substitution[];
  /** Whatever else there is to say. */
  notes: readonly string[];
}

/**
 * Runs `work` with a progress bar and an end by SIGINT or SIGTERM, and prints what was written.
 *
 * @param verb what is being done, such as "converting"
 */
export async function writeModelFile(
  verb: string,
  work: (watch: {
    onProgress: (bytesDone: number, bytesTotal: number) => void;
    signal: AbortSignal;
  }) => Promise<WrittenModel>,
): Promise<void> {
  const progress = new Progress(verb);
  const interruption = onceInterrupted();
  try {
    const { summary, substitutions, notes } = await work({
      onProgress: (bytesDone, bytesTotal) => progress.update(bytesDone, bytesTotal),
      signal: interruption.signal,
    });
    progress.stop();
    for (const line of describeSubstitutions(substitutions)) process.stderr.write(`${line}\n`);
    for (const line of [summary, ...notes]) process.stderr.write(`${line}\n`);
  } catch (error) {
    progress.stop();
    if (!interruption.signal.aborted) throw error;
    if (error instanceof ThermoclineError) process.stderr.write(`thermocline: ${error.message}\n`);
    throw interruption.signal.reason;
  } finally {
    interruption.release();
  }
}
