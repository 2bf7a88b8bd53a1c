/** The sampler: exact sets for the filters, exact probabilities for the draws. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { SamplingParams } from "../../coordinator/schedule/generation.js";
import { PENALTY_WINDOW, Sampler } from "../../coordinator/schedule/sampler.js";
import { highest } from "../support/fake-step-runner.js";

const GREEDY: SamplingParams = { temperature: 0, topK: 0, topP: 1, minP: 0, repeatPenalty: 1, seed: 7n };
const DRAW: SamplingParams = { ...GREEDY, temperature: 1 };

interface Wanted {
  prompt?: number[];
  logprobs?: boolean;
  topLogprobs?: number;
}

function sampler(sampling: Partial<SamplingParams>, wanted: Wanted = {}): Sampler {
  return new Sampler({
    sampling: { ...DRAW, ...sampling },
    promptTokens: wanted.prompt ?? [],
    logprobs: wanted.logprobs ?? false,
    topLogprobs: wanted.topLogprobs ?? 0,
  });
}

function logitsOf(probabilities: readonly number[]): Float32Array {
  return Float32Array.from(probabilities, Math.log);
}

function drawMany(chooser: Sampler, logits: Float32Array, count: number): number[] {
  const counts = new Array<number>(logits.length).fill(0);
  for (let draw = 0; draw < count; draw++) {
    const { id } = chooser.sample(logits);
    counts[id] = (counts[id] ?? 0) + 1;
  }
  return counts;
}

/** The tokens that come up at all; 3,000 draws miss one of probability 0.01 with 1e-13. */
function drawnSet(sampling: Partial<SamplingParams>, logits: Float32Array): number[] {
  return drawMany(sampler(sampling), logits, 3000).flatMap((count, id) => (count > 0 ? [id] : []));
}

/**
 * Pearson's statistic against the probabilities. With k outcomes it has mean k - 1 and variance below 2(k - 1) +
 * sum(1 / p) / n; six standard deviations are exceeded by chance less than once in 30 (Chebyshev) for any
 * distribution, and about once in a million for this one's near-normal shape. The seed is fixed: it passes or not.
 */
function expectDistribution(counts: readonly number[], probabilities: readonly number[]): void {
  const n = counts.reduce((sum, count) => sum + count, 0);
  let statistic = 0;
  let inverse = 0;
  let outcomes = 0;
  probabilities.forEach((p, id) => {
    if (p === 0) {
      expect(counts[id], `token ${id}`).toBe(0);
      return;
    }
    statistic += ((counts[id] ?? 0) - n * p) ** 2 / (n * p);
    inverse += 1 / p;
    outcomes++;
  });
  const freedom = outcomes - 1;
  expect(statistic).toBeLessThan(freedom + 6 * Math.sqrt(2 * freedom + inverse / n));
}

function softmax(logits: readonly number[], temperature: number): number[] {
  const weights = logits.map((logit) => Math.exp(logit / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

describe("candidates", () => {
  const params = fc.record({
    temperature: fc.constantFrom(0, 0.3, 1, 5),
    topK: fc.integer({ min: 1, max: 12 }),
    topP: fc.constantFrom(1, 0.9, 0.4),
    minP: fc.constantFrom(0, 0.05),
    repeatPenalty: fc.constantFrom(1, 1.1, 3),
  });
  // Few values, for many to be alike.
  const logits = fc.array(fc.integer({ min: -4, max: 4 }), { minLength: 13, maxLength: 40 });

  it("give the tokens that all logits give", () => {
    fc.assert(
      fc.property(params, logits, fc.array(fc.nat(12), { maxLength: 70 }), (sampling, values, prompt) => {
        const all = sampler(sampling, { prompt });
        const some = sampler(sampling, { prompt });
        for (let draw = 0; draw < 8; draw++) {
          // Other logits each time.
          const row = Float32Array.from(values, (value, id) => value / 3 + ((id * draw) % 5));
          const count = some.candidates;
          expect(count).toBeGreaterThan(0);
          expect(some.sample(highest(row, count))).toEqual(all.sample(row));
        }
      }),
      { numRuns: 500 },
    );
  });

  it("are as few as suffice", () => {
    expect(sampler(GREEDY).candidates).toBe(1);
    expect(sampler({ topK: 40 }).candidates).toBe(40);
    expect(sampler({ topK: 40, repeatPenalty: 1.5 }, { prompt: [1, 2, 1] }).candidates).toBe(42);
    expect(sampler({ ...GREEDY, repeatPenalty: 1.5 }, { prompt: [1, 2, 1] }).candidates).toBe(3);
  });

  it("are not enough for some", () => {
    expect(sampler({}).candidates).toBe(0);
    expect(sampler({ topP: 0.9 }).candidates).toBe(0);
    expect(sampler({ topK: 129 }).candidates).toBe(0);
    expect(sampler({ ...GREEDY, repeatPenalty: 0.9 }).candidates).toBe(0);
    expect(sampler(GREEDY, { logprobs: true }).candidates).toBe(0);
    expect(sampler(GREEDY, { topLogprobs: 2 }).candidates).toBe(0);
  });

  it("must be numbers", () => {
    const sample = (row: number[]) => () => sampler(GREEDY).sample(highest(Float32Array.from(row), 1));
    expect(sample([1, Number.NaN, 2])).toThrow(/the logit NaN for token 1;/);
    expect(sample([1, 3, Number.POSITIVE_INFINITY])).toThrow(/the logit Infinity for token 2;/);
    expect(sample([Number.NEGATIVE_INFINITY])).toThrow(/no finite logit/);
  });
});

describe("greedy", () => {
  it("takes the highest logit, the lowest id among equals", () => {
    expect(sampler(GREEDY).sample(Float32Array.of(1, 3, 3, 2)).id).toBe(1);
    expect(sampler(GREEDY).sample(Float32Array.of(-5)).id).toBe(0);
    const inf = Number.NEGATIVE_INFINITY;
    expect(sampler(GREEDY).sample(Float32Array.of(inf, inf, -1e38)).id).toBe(2);
  });

  it("is what every filter at its narrowest gives", () => {
    fc.assert(
      fc.property(
        fc.float32Array({ minLength: 1, maxLength: 50, noNaN: true, min: -50, max: 50 }),
        (logits) => {
          const expected = sampler(GREEDY).sample(logits).id;
          for (const narrow of [{ topK: 1 }, { topP: 1e-9 }, { temperature: Number.MIN_VALUE }]) {
            const { id } = sampler(narrow).sample(logits);
            expect(logits[id] === logits[expected], JSON.stringify(narrow)).toBe(true);
          }
          expect(sampler({ topK: 1 }).sample(logits).id).toBe(expected);
          expect(sampler({ topP: 1e-9 }).sample(logits).id).toBe(expected);
        },
      ),
      { seed: 1 },
    );
  });
});

describe("filters", () => {
  // Out of order on purpose.
  const PROBABILITIES = [0.05, 0.4, 0.05, 0.3, 0.2];
  const logits = logitsOf(PROBABILITIES);

  it("top-k keeps the k most likely, the lowest ids among equals", () => {
    expect(drawnSet({ topK: 1 }, logits)).toEqual([1]);
    expect(drawnSet({ topK: 3 }, logits)).toEqual([1, 3, 4]);
    expect(drawnSet({ topK: 4 }, logits)).toEqual([0, 1, 3, 4]);
    for (const topK of [0, 5, 6, 4_000_000_000]) expect(drawnSet({ topK }, logits)).toEqual([0, 1, 2, 3, 4]);
  });

  it("top-p keeps the fewest whose probabilities reach it", () => {
    expect(drawnSet({ topP: 0.39 }, logits)).toEqual([1]);
    expect(drawnSet({ topP: 0.41 }, logits)).toEqual([1, 3]);
    expect(drawnSet({ topP: 0.69 }, logits)).toEqual([1, 3]);
    expect(drawnSet({ topP: 0.89 }, logits)).toEqual([1, 3, 4]);
    expect(drawnSet({ topP: 0.94 }, logits)).toEqual([0, 1, 3, 4]);
    expect(drawnSet({ topP: 1 }, logits)).toEqual([0, 1, 2, 3, 4]);
  });

  it("top-p counts what top-k left as the whole", () => {
    // 0.4 of 0.9 is 0.444; 0.7 of 0.9 is 0.778.
    expect(drawnSet({ topK: 3, topP: 0.44 }, logits)).toEqual([1]);
    expect(drawnSet({ topK: 3, topP: 0.77 }, logits)).toEqual([1, 3]);
    expect(drawnSet({ topK: 3, topP: 0.79 }, logits)).toEqual([1, 3, 4]);
  });

  it("min-p drops what is less likely than its share of the most likely", () => {
    // Shares of the most likely: 0.125, 1, 0.125, 0.75, 0.5.
    expect(drawnSet({ minP: 0.12 }, logits)).toEqual([0, 1, 2, 3, 4]);
    expect(drawnSet({ minP: 0.13 }, logits)).toEqual([1, 3, 4]);
    expect(drawnSet({ minP: 0.51 }, logits)).toEqual([1, 3]);
    expect(drawnSet({ minP: 1 }, logits)).toEqual([1]);
    expect(drawnSet({ minP: 1 }, Float32Array.of(2, 1, 2))).toEqual([0, 2]);
    expect(drawnSet({ topK: 4, topP: 0.9, minP: 0.6 }, logits)).toEqual([1, 3]);
  });

  it("looks at probabilities before temperature", () => {
    // At temperature 10 the shares would all be above 0.8.
    expect(drawnSet({ minP: 0.51, temperature: 10 }, logits)).toEqual([1, 3]);
    expect(drawnSet({ topP: 0.69, temperature: 10 }, logits)).toEqual([1, 3]);
  });

  it("never draws an impossible token", () => {
    const inf = Number.NEGATIVE_INFINITY;
    expect(drawnSet({ temperature: 100 }, Float32Array.of(inf, 0, inf, 0))).toEqual([1, 3]);
    expect(drawnSet({ topK: 3 }, Float32Array.of(inf, 0, inf, 0))).toEqual([1, 3]);
  });
});

describe("draws", () => {
  const LOGITS = [2, 0.5, -1, 1.25, 0, -3];
  const logits = Float32Array.from(LOGITS);
  const N = 40_000;

  it.each([0.5, 1, 2.5])("follow the softmax at temperature %f", (temperature) => {
    expectDistribution(drawMany(sampler({ temperature }), logits, N), softmax(LOGITS, temperature));
  });

  it("follow the softmax among the kept tokens", () => {
    const kept = softmax(
      [2, 0.5, Number.NEGATIVE_INFINITY, 1.25, Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY],
      0.8,
    );
    expectDistribution(drawMany(sampler({ temperature: 0.8, topK: 3 }), logits, N), kept);
  });

  it("tell a wrong distribution apart", () => {
    const counts = drawMany(sampler({ temperature: 1 }), logits, N);
    expect(() => expectDistribution(counts, softmax(LOGITS, 1.05))).toThrow();
  });

  it("do not care for a shift of all logits, however large", () => {
    const shifted = logits.map((logit) => logit + 1024);
    const plain = sampler({ seed: 3n });
    const moved = sampler({ seed: 3n });
    for (let draw = 0; draw < 200; draw++) expect(moved.sample(shifted).id).toBe(plain.sample(logits).id);
  });

  it("repeat with the seed, and only with the seed", () => {
    const run = (seed: bigint | null) => {
      const chooser = sampler({ seed });
      return { seed: chooser.seed, ids: Array.from({ length: 64 }, () => chooser.sample(logits).id) };
    };
    expect(run(42n)).toEqual(run(42n));
    expect(run(42n).ids).not.toEqual(run(43n).ids);
    const drawn = run(null);
    expect(run(drawn.seed)).toEqual(drawn);
    expect(run(null).seed).not.toBe(drawn.seed);
    expect(run(2n ** 64n - 1n).seed).toBe(2n ** 64n - 1n);
  });
});

describe("repetition penalty", () => {
  it("divides positive and multiplies negative logits of tokens seen, once each", () => {
    const logits = Float32Array.of(4, 3, -1, -1.5);
    const penalized = (prompt: number[], repeatPenalty: number) =>
      sampler({ ...GREEDY, repeatPenalty }, { prompt }).sample(logits).id;
    expect(penalized([], 2)).toBe(0);
    expect(penalized([0], 1)).toBe(0);
    expect(penalized([0], 2)).toBe(1);
    // Applied twice, 4 / 1.2^2 would fall below 3.
    expect(penalized([0, 0, 0], 1.2)).toBe(0);
    // 3 / 0.5 = 6: below 1 it favours repetition.
    expect(penalized([1], 0.5)).toBe(1);
    const negative = Float32Array.of(-1, -1.5);
    expect(sampler({ ...GREEDY, repeatPenalty: 2 }, { prompt: [0] }).sample(negative).id).toBe(1);
  });

  it("counts its own tokens, and forgets those beyond the window", () => {
    const logits = Float32Array.of(4, 3, 0);
    const own = sampler({ ...GREEDY, repeatPenalty: 2 });
    // 4; then 2 against 3; then 2 against 1.5.
    expect([own.sample(logits).id, own.sample(logits).id, own.sample(logits).id]).toEqual([0, 1, 0]);

    const filler = new Array<number>(PENALTY_WINDOW - 1).fill(2);
    const choose = (prompt: number[]) =>
      sampler({ ...GREEDY, repeatPenalty: 2 }, { prompt }).sample(logits).id;
    expect(choose([0, ...filler])).toBe(1);
    expect(choose([0, 2, ...filler])).toBe(0);
  });

  it("leaves the caller's logits as they were", () => {
    const logits = Float32Array.of(4, 3, -1);
    sampler({ repeatPenalty: 3 }, { prompt: [0, 1, 2] }).sample(logits);
    expect([...logits]).toEqual([4, 3, -1]);
    const damaged = Float32Array.of(4, Number.NaN);
    expect(() => sampler({ repeatPenalty: 3 }, { prompt: [0] }).sample(damaged)).toThrow();
    expect([...damaged]).toEqual([4, Number.NaN]);
  });
});

describe("log-probabilities", () => {
  const PROBABILITIES = [0.1, 0.6, 0.1, 0.2];
  const logits = logitsOf(PROBABILITIES);

  it("are the model's own, whatever penalty, filters and temperature", () => {
    const strict: Partial<SamplingParams> = { topK: 1, temperature: 0.1, repeatPenalty: 5 };
    const { id, logprob, top } = sampler(strict, { logprobs: true, topLogprobs: 3, prompt: [1, 3] }).sample(
      logits,
    );
    // Five times -0.5 and -1.6 lie below -2.3.
    expect(id).toBe(0);
    // Float32 logits carry 24 bits: each is off by at most half an ulp of its size, below 2^-23 here.
    const bound = 2 ** -22;
    expect(Math.abs((logprob ?? 0) - Math.log(0.1))).toBeLessThan(bound);
    expect(top.map((candidate) => candidate.id)).toEqual([1, 3, 0]);
    top.forEach((candidate) => {
      expect(Math.abs(candidate.logprob - Math.log(PROBABILITIES[candidate.id] ?? 0))).toBeLessThan(bound);
    });
  });

  it("come only when asked for", () => {
    expect(sampler(GREEDY).sample(logits)).toEqual({ id: 1, logprob: null, top: [] });
    expect(sampler(GREEDY, { topLogprobs: 1 }).sample(logits)).toMatchObject({
      logprob: null,
      top: [{ id: 1 }],
    });
    expect(sampler(GREEDY, { logprobs: true }).sample(logits).top).toEqual([]);
  });

  it("hold for more candidates than tokens, and for huge logits", () => {
    const { top } = sampler(GREEDY, { topLogprobs: 64 }).sample(Float32Array.of(3e38, -3e38, 3e38));
    expect(top.map(({ id }) => id)).toEqual([0, 2, 1]);
    expect(top[0]?.logprob).toBeCloseTo(Math.log(0.5), 12);
    expect(Number.isNaN(top[2]?.logprob)).toBe(false);
  });

  it("list the same candidates as a full sort", () => {
    const values = fc.float32Array({ minLength: 1, maxLength: 80, noNaN: true, min: -4, max: 4 });
    fc.assert(
      fc.property(values, fc.integer({ min: 1, max: 64 }), (random, count) => {
        // Rounded, so that many are equal.
        const rounded = random.map(Math.round);
        const sorted = [...rounded.keys()].sort((a, b) => (rounded[b] ?? 0) - (rounded[a] ?? 0) || a - b);
        const { top } = sampler(GREEDY, { topLogprobs: count }).sample(rounded);
        expect(top.map(({ id }) => id)).toEqual(sorted.slice(0, count));
      }),
      { seed: 2 },
    );
  });
});

describe("damaged logits", () => {
  const inf = Number.POSITIVE_INFINITY;
  it.each([
    ["NaN first", [Number.NaN, 1], /logit NaN for token 0/],
    ["NaN last", [1, Number.NaN], /logit NaN for token 1/],
    ["+infinity", [1, inf, 2], /logit Infinity for token 1/],
    ["nothing possible", [-inf, -inf], /no finite logit among 2/],
    ["no logits", [], /no finite logit among 0/],
  ])("%s is an INTERNAL error that says so", (_, values, message) => {
    for (const sampling of [GREEDY, DRAW, { ...DRAW, topK: 2, topP: 0.5 }]) {
      const sample = () => sampler(sampling, { logprobs: true }).sample(Float32Array.from(values));
      expect(sample).toThrow(message);
      expect(sample).toThrow(expect.objectContaining({ code: "INTERNAL" }));
    }
  });
});
