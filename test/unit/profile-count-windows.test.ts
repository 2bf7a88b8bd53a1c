/** Counting windows on a step runner whose counts follow from the tokens of observed steps. */
import { describe, expect, test } from "vitest";
import { ActivationProfile } from "../../coordinator/profile/activation-profile.js";
import { type CountingRunner, countWindows } from "../../coordinator/profile/count-windows.js";
import type { StepResult } from "../../coordinator/schedule/step.js";
import type { StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { textSource } from "../support/profiles.js";
import { TEST_MODEL } from "../support/public-server.js";

const SHAPE = { ...TEST_MODEL.shape, layers: 2, ff: 4 };
const NEURONS = 8;
const WINDOWS = [0, 1, 2].map((window) =>
  Array.from({ length: 9 - window }, (_, i) => (7 * window + 5 * i) % 32),
);
const LOST = new ThermoclineError("UNAVAILABLE", "an executor was lost");

/** Neuron n fires for a token with bit n % 5 set, as strongly as a third of the token. */
class Runner implements CountingRunner {
  readonly limits = { maxRows: 4, maxLogitRows: 1, slots: 1, contextLength: 16 };
  readonly cacheEpoch = 0;
  steps = 0;
  waits = 0;
  private counts = new Uint32Array(NEURONS);
  private strengths = new Float32Array(NEURONS);

  /** @param before called with each step's number, from 1 on; false loses what was counted after it */
  constructor(private readonly before: (step: number) => void = () => undefined) {}

  async run(rows: readonly StepRow[], observed = false): Promise<StepResult> {
    this.steps++;
    await Promise.resolve();
    for (const { token } of observed ? rows : []) {
      for (let n = 0; n < NEURONS; n++) {
        if (((token >> (n % 5)) & 1) === 0) continue;
        this.counts[n] = (this.counts[n] ?? 0) + 1;
        this.strengths[n] = (this.strengths[n] ?? 0) + token / 3;
      }
    }
    this.before(this.steps);
    return {
      step: this.steps,
      logits: [],
      candidates: [],
      startNs: 0,
      endNs: 1,
      timings: new Float64Array(),
    };
  }

  ready(): Promise<void> {
    this.waits++;
    return Promise.resolve();
  }

  observed: CountingRunner["observed"] = (read) =>
    read({
      takeCounts: () => {
        const { counts, strengths } = this;
        this.counts = new Uint32Array(NEURONS);
        this.strengths = new Float32Array(NEURONS);
        return { counts, strengths };
      },
    });
}

const TEXTS = [
  { of: textSource("a"), windows: WINDOWS },
  { of: textSource("b"), windows: WINDOWS.slice(1) },
];

interface Given {
  profile?: ActivationProfile;
  signal?: AbortSignal;
  save?: () => Promise<void>;
}

/** Reads what `profile` has not yet. */
async function count(
  runner: CountingRunner,
  { profile = new ActivationProfile(SHAPE), signal = new AbortController().signal, save }: Given = {},
) {
  const saves: ActivationProfile[] = [];
  const progress: number[] = [];
  const texts = TEXTS.map(({ of, windows }) => {
    const source = profile.source(of);
    return { source, windows: windows.slice(source.windows) };
  });
  const counted = await countWindows(runner, {
    profile,
    texts,
    save: save ?? (async () => void saves.push(structuredClone(profile))),
    onProgress: ({ tokensRead }) => progress.push(tokensRead),
    signal,
  });
  return { profile, counted, saves, progress };
}

function expectedCounts(windows: readonly number[][]): Float32Array {
  return Float32Array.from(
    { length: NEURONS },
    (_, n) => windows.flat().filter((token) => (token >> (n % 5)) & 1).length,
  );
}

test("every token of every window counts, for its own text", async () => {
  const { profile, counted, saves, progress } = await count(new Runner());
  expect(profile.sources).toMatchObject([
    { ...textSource("a"), windows: 3, tokens: 24, counts: expectedCounts(WINDOWS) },
    { ...textSource("b"), windows: 2, tokens: 15, counts: expectedCounts(WINDOWS.slice(1)) },
  ]);
  expect(profile.totals()).toEqual(expectedCounts([...WINDOWS, ...WINDOWS.slice(1)]));
  expect(counted).toMatchObject({ tokensRead: 39, tokens: 39, text: "b" });
  expect(progress).toEqual([4, 8, 9, 13, 17, 21, 24, 28, 32, 36, 39]);
  expect(saves).toHaveLength(1);
});

describe("ended in any step, what goes on from there has the bits of one run", () => {
  test.each(Array.from({ length: 10 }, (_, step) => [step + 1]))("step %d", async (at) => {
    const whole = await count(new Runner());
    const control = new AbortController();
    const first = await count(
      new Runner((step) => {
        if (step === at) control.abort();
      }),
      { signal: control.signal },
    );
    const { sources } = first.profile;
    expect(sources.reduce((sum, { windows }) => sum + windows, 0)).toBeLessThan(5);
    expect(first.saves.length).toBe(sources.some(({ windows }) => windows > 0) ? 1 : 0);
    const second = await count(new Runner(), { profile: first.profile });
    expect(second.profile).toEqual(whole.profile);
  });
});

test("a window in which an executor was lost is counted once", async () => {
  const runner = new Runner((step) => {
    if (step === 2 || step === 6) throw LOST;
  });
  const { profile } = await count(runner);
  expect(profile).toEqual((await count(new Runner())).profile);
  expect(runner.waits).toBe(2);
});

test("so is one whose counts were lost at its end", async () => {
  const runner = new Runner();
  const { observed } = runner;
  let reads = 0;
  // Before the window and after it.
  runner.observed = (read) => (++reads === 2 ? null : observed(read));
  const { profile } = await count(runner);
  expect(profile).toEqual((await count(new Runner())).profile);
});

test("a failure ends it, and what was whole is saved", async () => {
  const failure = new ThermoclineError("INTERNAL", "a defect");
  const runner = new Runner((step) => {
    if (step === 5) throw failure;
  });
  const profile = new ActivationProfile(SHAPE);
  let saves = 0;
  const save = async () => void saves++;
  await expect(count(runner, { profile, save })).rejects.toBe(failure);
  expect(saves).toBe(1);
  expect(profile.sources.map(({ windows }) => windows)).toEqual([1, 0]);
});
