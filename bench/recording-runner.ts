/** A step runner that remembers what another one did. */

import type { StepResult, StepRunner } from "../coordinator/schedule/step.js";
import type { StepRow } from "../native/index.js";

/** A step's times; its logits are not kept. */
export interface RecordedStep extends Omit<StepResult, "logits" | "candidates"> {
  /** Of its first row, in that row's sequence. */
  position: number;
}

export class RecordingRunner implements StepRunner {
  steps: RecordedStep[] = [];

  constructor(private readonly runner: StepRunner) {}

  get limits() {
    return this.runner.limits;
  }

  get cacheEpoch() {
    return this.runner.cacheEpoch;
  }

  ready(): Promise<void> {
    return this.runner.ready();
  }

  async run(rows: readonly StepRow[]): Promise<StepResult> {
    const result = await this.runner.run(rows);
    const { step, startNs, endNs, timings } = result;
    this.steps.push({ step, startNs, endNs, timings: timings.slice(), position: rows[0]?.position ?? 0 });
    return result;
  }

  /** Forgets all steps so far. */
  clear(): void {
    this.steps = [];
  }
}
