import { fc, test as property } from "@fast-check/vitest";
import { expect } from "vitest";
import { BATCHER_DEFAULTS, Batcher } from "../../coordinator/schedule/batcher.js";
import { NOOP_OBSERVER } from "../../coordinator/telemetry/noop.js";
import type { StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { FAKE_VOCABULARY, FakeStepRunner } from "../support/fake-step-runner.js";
import { fakeTokenizer } from "../support/fake-tokenizer.js";
import { collect, GREEDY, loneRun, request, turns } from "../support/generation.js";

const CONTEXT = 48;

const limits = fc
  .record({ slots: fc.integer({ min: 1, max: 5 }), spare: fc.integer({ min: 0, max: 12 }) })
  .map(({ slots, spare }) => ({
    slots,
    maxRows: slots + spare,
    maxLogitRows: slots,
    contextLength: CONTEXT,
  }));

/** A request, when it comes, how fast it is read, and when it is given up (in turns of the event loop). */
const arrival = fc.record({
  at: fc.nat({ max: 60 }),
  promptTokens: fc.array(fc.nat({ max: FAKE_VOCABULARY - 1 }), { minLength: 1, maxLength: CONTEXT - 1 }),
  maxTokens: fc.option(fc.integer({ min: 1, max: 30 })),
  seed: fc.option(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })),
  stop: fc.array(fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 2 }), {
    maxLength: 2,
  }),
  ignoreEos: fc.boolean(),
  readerTurns: fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.integer({ min: 1, max: 6 })),
  cancelAfter: fc.option(fc.nat({ max: 60 }), { freq: 3 }),
});
type Arrival = typeof arrival extends fc.Arbitrary<infer T> ? T : never;

async function play(batcher: Batcher, arrivals: readonly Arrival[]) {
  return Promise.all(
    arrivals.map(async ({ at, seed, readerTurns, cancelAfter, ...asked }) => {
      const control = new AbortController();
      const sampling = seed === null ? GREEDY : { ...GREEDY, temperature: 0.9, topP: 0.95, seed };
      const full = request({ ...asked, sampling, signal: control.signal });
      await turns(at);
      if (cancelAfter !== null) void turns(cancelAfter).then(() => control.abort());
      return { full, output: await collect(batcher.generate(full), () => turns(readerTurns)) };
    }),
  );
}

type Played = Awaited<ReturnType<typeof play>>[number];

/** Whole when it ended well, else a beginning; never anything of another request's. */
function expectLoneRun({ full, output }: Played): void {
  const lone = loneRun(full, CONTEXT);
  if (output.error === null) {
    expect(output).toMatchObject({ tokens: lone.tokens, text: lone.text, finishReason: lone.finishReason });
  } else {
    expect(lone.tokens.slice(0, output.tokens.length)).toEqual(output.tokens);
    expect(lone.text.startsWith(output.text)).toBe(true);
  }
}

/** Between a slot's first logits and its next prompt, its rows are in successive steps. */
function expectNobodySkipped(steps: readonly StepRow[][], slots: number): void {
  for (let slot = 0; slot < slots; slot++) {
    let decodedIn = -1;
    steps.forEach((rows, step) => {
      const own = rows.filter((row) => row.slot === slot);
      const [first] = own;
      if (first === undefined) return;
      if (first.position > 0 && decodedIn >= 0) expect(step - decodedIn).toBe(1);
      decodedIn = own.at(-1)?.wantsLogits ? step : -1;
    });
  }
}

property.prop([limits, fc.array(arrival, { minLength: 1, maxLength: 12 })], { numRuns: 150, seed: 1 })(
  "whoever comes, leaves or reads slowly: each gets its lone run",
  async (sizes, arrivals) => {
    const runner = new FakeStepRunner(sizes);
    const batcher = new Batcher(runner, fakeTokenizer, NOOP_OBSERVER, {
      ...BATCHER_DEFAULTS,
      maxQueued: 100,
      maxBacklog: 3,
    });
    const played = await play(batcher, arrivals);
    await batcher.close();
    for (const one of played) {
      expectLoneRun(one);
      if (one.output.error !== null) expect(one.output.error).toMatchObject({ code: "CANCELLED" });
    }
    if (arrivals.every(({ readerTurns }) => readerTurns === 0))
      expectNobodySkipped(runner.steps, sizes.slots);
  },
);

const failures = fc.array(fc.record({ step: fc.nat({ max: 60 }), awayTurns: fc.nat({ max: 10 }) }), {
  maxLength: 4,
});

property.prop([limits, fc.array(arrival, { minLength: 1, maxLength: 10 }), failures], {
  numRuns: 100,
  seed: 1,
})(
  "when executors are lost and come back, requests fail or get their lone run",
  async (sizes, arrivals, plannedFailures) => {
    const runner = new FakeStepRunner(sizes);
    const run = runner.run.bind(runner);
    runner.run = (rows) => {
      const failure = plannedFailures.find(({ step }) => step === runner.steps.length);
      if (failure !== undefined && runner.outcomes.length === 0) {
        runner.outcomes.push(new ThermoclineError("UNAVAILABLE", "lost"));
        void turns(2 + failure.awayTurns).then(() => runner.recover());
      }
      return run(rows);
    };
    const batcher = new Batcher(runner, fakeTokenizer, NOOP_OBSERVER, {
      ...BATCHER_DEFAULTS,
      maxQueued: 100,
      maxBacklog: 3,
    });
    const played = await play(batcher, arrivals);
    await batcher.close();
    for (const one of played) {
      expectLoneRun(one);
      const { error } = one.output;
      if (error !== null) expect(["CANCELLED", "UNAVAILABLE"]).toContain((error as ThermoclineError).code);
    }
  },
);
