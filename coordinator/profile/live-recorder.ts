/** Counts which neurons fire for a server's requests: a step runner in front of the one that computes the steps. */
import type { FiredCounts, ModelShape, StepRow } from "../../native/index.js";
import type { StepResult } from "../schedule/step.js";
import type { CountedTokens } from "./activation-profile.js";
import type { CountingRunner } from "./count-windows.js";

/**
 * One step in so many is observed, which makes it at most a tenth longer (docs/profile.md has the measurements): this
 * costs less than four thousandths.
 */
export const OBSERVE_EVERY = 32;

/**
 * Executors add up what observed steps do, and as often as this the sums are read. That holds the event loop up for
 * 40 ns a neuron, 14 ms with a model of 7B: three thousandths.
 */
const READ_EVERY_MS = 5000;

/** After so many observed tokens, some pages of text, what was counted before them weighs half. */
export const HALF_LIFE_TOKENS = 512;

/** What requests make neurons do at present, for whoever moves neurons between executors. */
export interface LiveCounts {
  /** Tokens that each neuron fired for, recent ones weighing most; neuron n of layer l is entry l * ff + n. */
  readonly counts: Float64Array;
  /** Tokens behind the counts, weighed alike: `counts[i] / tokens` is how often a neuron fires. */
  readonly tokens: number;
}

export interface LiveRecorderOptions {
  /** One step in so many is observed, at a place of its own in each such row of steps. */
  observeEvery: number;
  halfLifeTokens: number;
  /** Uniform over [0, 1). */
  random: () => number;
  nowMs: () => number;
  /** Gets what goes wrong in counting; requests never do. */
  onError: (error: unknown) => void;
}

export const LIVE_DEFAULTS = {
  observeEvery: OBSERVE_EVERY,
  halfLifeTokens: HALF_LIFE_TOKENS,
  random: Math.random,
  nowMs: () => performance.now(),
};

/** The runner's executors must observe at least counts. */
export class LiveRecorder implements CountingRunner {
  private readonly decayed: Float64Array;
  private decayedTokens = 0;
  private sums: CountedTokens & { counts: Float64Array };
  /** Steps to come before the next observed one, and in all of this row. */
  private before = 0;
  private left = 0;
  /** Tokens of observed steps whose counts are still with the executors. */
  private unread = 0;
  private unreadEpoch = 0;
  private readMs: number;
  private isRunning = false;
  private waiting: ((layers: Float64Array[]) => void)[] = [];

  constructor(
    private readonly runner: CountingRunner,
    private readonly shape: Pick<ModelShape, "layers" | "ff">,
    private readonly options: LiveRecorderOptions,
  ) {
    this.decayed = new Float64Array(shape.layers * shape.ff);
    this.sums = this.nothing();
    this.readMs = options.nowMs();
  }

  get limits() {
    return this.runner.limits;
  }

  get cacheEpoch() {
    return this.runner.cacheEpoch;
  }

  ready(): Promise<void> {
    return this.runner.ready();
  }

  observed: CountingRunner["observed"] = (read) => this.runner.observed(read);

  /** Whoever asks for an observed step takes what it left. */
  async run(rows: readonly StepRow[], observed = false): Promise<StepResult> {
    const sampled = !observed && this.isNext();
    this.isRunning = true;
    try {
      const result = await this.runner.run(rows, observed || sampled);
      if (sampled) this.addUnread(rows.length);
      return result;
    } finally {
      this.isRunning = false;
      if (this.waiting.length > 0) this.tell();
      else if (sampled && this.options.nowMs() - this.readMs >= READ_EVERY_MS) this.read();
    }
  }

  /** {@link live}'s counts by layer, as they are when the next step has ended. */
  next(): Promise<Float64Array[]> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** What has been read by now; overwritten by the steps to come. */
  get live(): LiveCounts {
    return { counts: this.decayed, tokens: this.decayedTokens };
  }

  /** Reads what executors have counted, unless a step is at work. */
  read(): void {
    if (this.isRunning || this.unread === 0) return;
    const tokens = this.unreadEpoch === this.cacheEpoch ? this.unread : 0;
    this.unread = 0;
    this.readMs = this.options.nowMs();
    try {
      const fired = this.runner.observed((steps) => steps.takeCounts());
      if (fired !== null && tokens > 0) this.add(fired, tokens);
    } catch (error) {
      this.options.onError(error);
    }
  }

  /** Takes plain sums of what was read since the last call. */
  take(): CountedTokens {
    this.read();
    const taken = this.sums;
    this.sums = this.nothing();
    return taken;
  }

  /** Gives back what was taken and could not be kept. */
  giveBack(taken: CountedTokens): void {
    this.sums.tokens += taken.tokens;
    addTo(this.sums.counts, taken.counts);
    addTo(this.sums.strengths, taken.strengths);
  }

  private tell(): void {
    this.read();
    const { layers, ff } = this.shape;
    const byLayer = Array.from({ length: layers }, (_, l) => this.decayed.subarray(l * ff, (l + 1) * ff));
    const { waiting } = this;
    this.waiting = [];
    for (const resolve of waiting) resolve(byLayer);
  }

  /** At a random place of each row of steps: requests have rhythms of their own. */
  private isNext(): boolean {
    if (this.left === 0) {
      this.left = this.options.observeEvery;
      this.before = Math.floor(this.options.random() * this.left);
    }
    this.left--;
    return this.before-- === 0;
  }

  /** What lost executors had counted is gone with them. */
  private addUnread(tokens: number): void {
    if (this.unreadEpoch !== this.cacheEpoch) this.unread = 0;
    this.unreadEpoch = this.cacheEpoch;
    this.unread += tokens;
  }

  private add(fired: FiredCounts, tokens: number): void {
    const keep = 2 ** (-tokens / this.options.halfLifeTokens);
    for (let i = 0; i < this.decayed.length; i++) {
      this.decayed[i] = (this.decayed[i] ?? 0) * keep + (fired.counts[i] ?? 0);
    }
    this.decayedTokens = this.decayedTokens * keep + tokens;
    addTo(this.sums.counts, fired.counts);
    addTo(this.sums.strengths, fired.strengths);
    this.sums.tokens += tokens;
  }

  private nothing(): CountedTokens & { counts: Float64Array } {
    const neurons = this.shape.layers * this.shape.ff;
    return { counts: new Float64Array(neurons), strengths: new Float32Array(neurons), tokens: 0 };
  }
}

function addTo(sums: Float64Array | Float32Array, values: ArrayLike<number>): void {
  for (let i = 0; i < sums.length; i++) sums[i] = (sums[i] ?? 0) + (values[i] ?? 0);
}
