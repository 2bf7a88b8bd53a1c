/** How often neurons fired lately, from the steps that a server computes anyway. */
import type { FiredCounts, ModelShape, StepRow } from "../../native/index.js";
import type { StepLimits, StepResult, StepRunner } from "../schedule/step.js";
import type { LayerFirings } from "./choose-exchanges.js";

/** A runner whose steps can be observed. */
export interface ObservableRunner extends StepRunner {
  observed<T>(read: (steps: { takeCounts(): FiredCounts }) => T): T | null;
}

/** An observed step takes up to a tenth longer; one in so many makes that less than a hundredth. */
export const OBSERVED_EVERY = 16;
/** Rows after which what was counted before them weighs half: some pages of text. */
const HALF_LIFE_ROWS = 512;

/**
 * Runs steps and observes some of those that only decode. In others a weight is read once for many rows of a prompt, so
 * how often its neuron fires matters little there.
 */
export class LiveFirings implements StepRunner {
  private readonly sums: Float64Array;
  private steps = 0;
  /** Rows observed since counts were taken, and the executors' life in which they were. */
  private rows = 0;
  private epoch: number;
  private waiting: ((firings: LayerFirings) => void)[] = [];

  constructor(
    private readonly runner: ObservableRunner,
    private readonly shape: Pick<ModelShape, "layers" | "ff">,
  ) {
    this.sums = new Float64Array(shape.layers * shape.ff);
    this.epoch = runner.cacheEpoch;
  }

  get limits(): StepLimits {
    return this.runner.limits;
  }

  get cacheEpoch(): number {
    return this.runner.cacheEpoch;
  }

  async run(rows: readonly StepRow[]): Promise<StepResult> {
    const observed = rows.every(({ wantsLogits }) => wantsLogits) && this.steps++ % OBSERVED_EVERY === 0;
    const result = await this.runner.run(rows, observed);
    if (observed) this.count(rows.length);
    if (this.waiting.length > 0) this.tell();
    return result;
  }

  ready(): Promise<void> {
    return this.runner.ready();
  }

  /** Resolves when the next step ends. Old firings weigh less than recent ones. Valid until the next call. */
  take(): Promise<LayerFirings> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private count(rows: number): void {
    // What executors counted before they were lost is lost, too.
    if (this.epoch !== this.runner.cacheEpoch) this.rows = 0;
    this.epoch = this.runner.cacheEpoch;
    this.rows += rows;
  }

  /** At a step's end, before the next one begins: only then can counts be taken. */
  private tell(): void {
    const taken = this.runner.observed((steps) => steps.takeCounts());
    if (taken !== null) {
      const weight = 0.5 ** (this.rows / HALF_LIFE_ROWS);
      this.rows = 0;
      // By index: an iterator would take ten times as long, and the next step waits.
      for (let i = 0; i < this.sums.length; i++) {
        this.sums[i] = (this.sums[i] ?? 0) * weight + (taken.counts[i] ?? 0);
      }
    }
    const { layers, ff } = this.shape;
    const firings = Array.from({ length: layers }, (_, layer) =>
      this.sums.subarray(layer * ff, (layer + 1) * ff),
    );
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve(firings);
  }
}
