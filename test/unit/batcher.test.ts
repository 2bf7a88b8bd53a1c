import { afterEach, describe, expect, test } from "vitest";
import { BATCHER_DEFAULTS, Batcher, type BatcherOptions } from "../../coordinator/schedule/batcher.js";
import type { StepLimits } from "../../coordinator/schedule/step.js";
import { NOOP_OBSERVER } from "../../coordinator/telemetry/noop.js";
import type { Observer } from "../../coordinator/telemetry/observer.js";
import { ThermoclineError } from "../../proto/errors.js";
import { FakeStepRunner, fakeLogits, highest } from "../support/fake-step-runner.js";
import { FAKE_FIRST_HALF, fakeTokenizer } from "../support/fake-tokenizer.js";
import { collect, eventsOf, loneRun, request, turns, until } from "../support/generation.js";

const LIMITS: StepLimits = { maxRows: 8, maxLogitRows: 4, slots: 2, contextLength: 40 };

let opened: { runner: FakeStepRunner; batcher: Batcher }[] = [];
afterEach(async () => {
  const closing = opened.map(({ batcher }) => batcher.close());
  for (const { runner } of opened) runner.release();
  opened = [];
  await Promise.all(closing);
});

function start(limits: Partial<StepLimits> = {}, options: Partial<BatcherOptions> = {}, observer?: Observer) {
  const runner = new FakeStepRunner({ ...LIMITS, ...limits });
  const batcher = new Batcher(runner, fakeTokenizer, observer ?? NOOP_OBSERVER, {
    ...BATCHER_DEFAULTS,
    ...options,
  });
  opened.push({ runner, batcher });
  return { runner, batcher };
}

/** Starts a step that waits, with `asked` in it, and gives its events. */
async function startHeld(runner: FakeStepRunner, batcher: Batcher, asked: ReturnType<typeof request>) {
  runner.holdFrom = runner.steps.length + 1;
  const events = batcher.generate(asked);
  await until(() => runner.steps.length === runner.holdFrom, "the step began");
  return events;
}

describe("one request", () => {
  test("gives the tokens of its lone run, in chunks of prompt and then one row a step", async () => {
    const { runner, batcher } = start();
    const asked = request({ promptTokens: Array.from({ length: 19 }, (_, i) => 4 + i), maxTokens: 5 });
    const output = await collect(batcher.generate(asked));
    expect(output).toMatchObject({ ...loneRun(asked, 40), finishReason: "max-tokens" });
    expect(runner.steps.map((rows) => rows.length)).toEqual([8, 8, 3, 1, 1, 1, 1]);
    expect(runner.steps.flat().filter((row) => row.wantsLogits)).toHaveLength(5);
  });

  test("ends when the context is full", async () => {
    const { batcher } = start();
    const output = await collect(batcher.generate(request({ maxTokens: 1000 })));
    expect(output.finishReason).toBe("context-full");
    expect(output.tokens).toHaveLength(37);
    expect(output.summary).toMatchObject({ promptTokens: 3, generatedTokens: 37 });
  });

  test("fills the context exactly: the last token needs no position", async () => {
    const { runner, batcher } = start();
    const output = await collect(
      batcher.generate(request({ promptTokens: Array.from({ length: 39 }, () => 9) })),
    );
    expect(output).toMatchObject({ finishReason: "context-full", summary: { generatedTokens: 1 } });
    expect(runner.steps.flat().at(-1)?.position).toBe(38);
  });

  test("ends at the end-of-sequence token, which is neither sent nor counted", async () => {
    const { batcher } = start({ contextLength: 2000 });
    const asked = request({ ignoreEos: false, maxTokens: 1900 });
    const output = await collect(batcher.generate(asked));
    expect(output).toMatchObject(loneRun(asked, 2000));
    expect(output.finishReason).toBe("end-of-sequence");
    expect(output.tokens.some((token) => fakeTokenizer.isEnd(token))).toBe(false);
    expect(output.summary?.generatedTokens).toBe(output.tokens.length);
  });

  test("goes on past it when told to", async () => {
    const { batcher } = start({ contextLength: 2000 });
    const asked = request({ maxTokens: 1900 });
    const output = await collect(batcher.generate(asked));
    expect(output.tokens).toHaveLength(1900);
    expect(output.tokens.some((token) => fakeTokenizer.isEnd(token))).toBe(true);
  });

  test("ends before a stop string that spans tokens", async () => {
    const { batcher } = start();
    const free = loneRun(request({ maxTokens: 20 }), 40);
    const stop = free.text.slice(6, 9);
    const asked = request({ maxTokens: 20, stop: [stop, "never there"] });
    const output = await collect(batcher.generate(asked));
    expect(output).toMatchObject({ ...loneRun(asked, 40), finishReason: "stop" });
    expect(output.text).toBe(free.text.slice(0, free.text.indexOf(stop)));
    expect(output.summary?.text).toBe("");
  });

  test("gives text that was held back with the summary", async () => {
    const { batcher } = start();
    const free = loneRun(request({ maxTokens: 20 }), 40);
    const stop = `${free.text.at(-1)}never`;
    const output = await collect(batcher.generate(request({ maxTokens: 20, stop: [stop] })));
    expect(output.text).toBe(free.text);
    expect(output.summary?.text).toBe(free.text.slice(free.text.lastIndexOf(stop[0] ?? "")));
  });

  test("gives half a character at the end as U+FFFD", async () => {
    const { batcher } = start({ contextLength: 2000 });
    const { tokens } = loneRun(request({ maxTokens: 500 }), 2000);
    const maxTokens = tokens.indexOf(FAKE_FIRST_HALF) + 1;
    expect(maxTokens).toBeGreaterThan(0);
    const output = await collect(batcher.generate(request({ maxTokens })));
    expect(output.summary?.text).toBe("\uFFFD");
  });

  test("is reproducible by the seed in its summary", async () => {
    const { batcher } = start();
    const sampling = { temperature: 1, topK: 0, topP: 1, minP: 0, repeatPenalty: 1.1, seed: null };
    const first = await collect(batcher.generate(request({ sampling, maxTokens: 30 })));
    const seed = first.summary?.seed ?? null;
    const again = await collect(
      batcher.generate(request({ sampling: { ...sampling, seed }, maxTokens: 30 })),
    );
    expect(again.tokens).toEqual(first.tokens);
  });

  test("reports log-probabilities only when asked", async () => {
    const { batcher } = start();
    const plain = await eventsOf(batcher.generate(request({ maxTokens: 1 })));
    expect(plain[0]).toMatchObject({ kind: "token", logprob: null, top: [] });
    const asked = await eventsOf(batcher.generate(request({ maxTokens: 1, logprobs: true, topLogprobs: 3 })));
    const token = asked[0]?.kind === "token" ? asked[0] : null;
    expect(token?.top).toHaveLength(3);
    expect(token?.top[0]).toEqual({ id: token?.id, logprob: token?.logprob });
  });

  test("reports times that fit together", async () => {
    const { batcher } = start();
    const { summary } = await collect(batcher.generate(request({ maxTokens: 5 })));
    expect(summary?.timeToFirstTokenS).toBeGreaterThan(0);
    expect(summary?.queueS).toBeGreaterThanOrEqual(0);
    expect(summary?.queueS).toBeLessThanOrEqual(summary?.timeToFirstTokenS ?? 0);
    expect(summary?.decodeTokensPerS).toBeGreaterThan(0);
    expect(summary?.prefillTokensPerS).toBeGreaterThan(0);
    const single = await collect(batcher.generate(request({ maxTokens: 1 })));
    expect(single.summary?.decodeTokensPerS).toBe(0);
  });
});

describe("several requests", () => {
  test("a long prompt delays nobody's decoding, and a short prompt does not wait behind it", async () => {
    const { runner, batcher } = start({ slots: 3, contextLength: 400 });
    runner.holdFrom = 4;
    const decoding = collect(batcher.generate(request({ promptTokens: [4], maxTokens: 60 })));
    await until(() => runner.steps.length === 4, "it decodes");
    const long = collect(
      batcher.generate(request({ promptTokens: Array.from({ length: 300 }, () => 8), maxTokens: 1 })),
    );
    const short = collect(batcher.generate(request({ promptTokens: [9, 9, 9, 9, 9], maxTokens: 1 })));
    runner.release();
    await Promise.all([decoding, long, short]);

    const steps = runner.steps.slice(4);
    const decodes = steps.map((rows) => rows.filter((row) => row.slot === 0).length);
    expect(decodes.slice(0, 55)).toEqual(Array.from({ length: 55 }, () => 1));
    const firstWithShort = steps.findIndex((rows) => rows.some((row) => row.slot === 2));
    const shortRows = steps
      .slice(firstWithShort, firstWithShort + 2)
      .map((rows) => rows.filter((row) => row.slot === 2));
    expect(shortRows.flat()).toHaveLength(5);
    for (const rows of steps.slice(0, 30)) expect(rows).toHaveLength(8);
  });

  test("more requests than slots are served in the order of their arrival", async () => {
    const { batcher } = start();
    const ended: number[] = [];
    await Promise.all(
      [0, 1, 2, 3, 4].map(async (index) => {
        const asked = request({ promptTokens: [4 + index], maxTokens: 3 });
        expect(await collect(batcher.generate(asked))).toMatchObject(loneRun(asked, 40));
        ended.push(index);
      }),
    );
    expect(ended).toEqual([0, 1, 2, 3, 4]);
  });

  test("beyond the queue's cap a request is refused with the numbers", async () => {
    const { runner, batcher } = start({}, { maxQueued: 1 });
    const first = await startHeld(runner, batcher, request({ maxTokens: 1 }));
    const others = [1, 2].map(() => batcher.generate(request({ maxTokens: 1 })));
    expect(() => batcher.generate(request({}))).toThrow(
      expect.objectContaining({
        code: "RESOURCE_EXHAUSTED",
        message: expect.stringMatching(/2 requests already wait for one of 2 slots, and at most 1 may/),
      }),
    );
    runner.release();
    for (const events of [first, ...others]) expect((await collect(events)).finishReason).toBe("max-tokens");
  });
});

describe("refusals", () => {
  test("an empty prompt", () => {
    const { batcher } = start();
    expect(() => batcher.generate(request({ promptTokens: [] }))).toThrow(
      new ThermoclineError("INVALID_ARGUMENT", "the prompt has no tokens; give at least one"),
    );
  });

  test("a prompt that leaves no room for a token", () => {
    const { batcher } = start();
    expect(() => batcher.generate(request({ promptTokens: Array.from({ length: 40 }, () => 5) }))).toThrow(
      /the prompt has 40 tokens, and the context of 40 must hold at least one more; shorten the prompt to 39/,
    );
  });

  test("limits under which a slot could be left out of a step", () => {
    expect(() => start({ slots: 5 })).toThrow(/5 slots, and a step takes 8 rows, 4 of them with logits/);
    expect(() => start({ slots: 0 })).toThrow(ThermoclineError);
  });
});

describe("cancellation", () => {
  const cancelled = { code: "CANCELLED", message: "the request was cancelled by its caller" };

  test("before the start", async () => {
    const { runner, batcher } = start();
    const { error } = await collect(batcher.generate(request({ signal: AbortSignal.abort() })));
    expect(error).toMatchObject(cancelled);
    await turns(5);
    expect(runner.steps).toHaveLength(0);
  });

  test("in the queue: nothing else is disturbed", async () => {
    const { runner, batcher } = start({ slots: 1 });
    const control = new AbortController();
    const asked = request({ maxTokens: 8 });
    const running = collect(await startHeld(runner, batcher, asked));
    const queued = collect(batcher.generate(request({ promptTokens: [21], signal: control.signal })));
    const behind = collect(batcher.generate(request({ promptTokens: [22], maxTokens: 2 })));
    control.abort();
    expect((await queued).error).toMatchObject(cancelled);
    runner.release();
    expect(await running).toMatchObject(loneRun(asked, 40));
    expect((await behind).tokens).toHaveLength(2);
    expect(runner.steps.flat().some((row) => row.token === 21 && row.position === 0)).toBe(false);
  });

  test.each([
    ["prefill", 30, 2],
    ["decode", 3, 4],
  ])("in %s: the slot belongs to the next request one step later", async (_stage, prompt, at) => {
    const { runner, batcher } = start({ slots: 1 });
    runner.holdFrom = at;
    const control = new AbortController();
    const promptTokens = Array.from({ length: prompt }, () => 7);
    const doomed = collect(batcher.generate(request({ promptTokens, signal: control.signal })));
    await until(() => runner.steps.length === at, "the step is held");
    const asked = request({ promptTokens: [9], maxTokens: 2 });
    const next = collect(batcher.generate(asked));
    control.abort();
    expect((await doomed).error).toMatchObject(cancelled);
    runner.release();
    expect(await next).toMatchObject(loneRun(asked, 40));
    expect(runner.steps[at]).toEqual([{ token: 9, position: 0, slot: 0, wantsLogits: true, candidates: 1 }]);
  });

  test("the signal's own ThermoclineError reaches the reader", async () => {
    const { runner, batcher } = start();
    const reason = new ThermoclineError("DEADLINE_EXCEEDED", "30 ms are over");
    const control = new AbortController();
    const events = collect(await startHeld(runner, batcher, request({ signal: control.signal })));
    control.abort(reason);
    expect((await events).error).toBe(reason);
    runner.release();
  });

  test("a timeout is a deadline", async () => {
    const { runner, batcher } = start();
    const events = collect(await startHeld(runner, batcher, request({ signal: AbortSignal.timeout(5) })));
    expect((await events).error).toMatchObject({ code: "DEADLINE_EXCEEDED" });
    runner.release();
  });

  test("a reader that leaves frees the slot", async () => {
    const { runner, batcher } = start({ slots: 1 });
    for await (const _event of batcher.generate(request({}))) break;
    const asked = request({ promptTokens: [9], maxTokens: 2 });
    expect(await collect(batcher.generate(asked))).toMatchObject(loneRun(asked, 40));
    expect(runner.steps.length).toBeLessThan(10);
  });

  test("after the end it changes nothing", async () => {
    const { batcher } = start();
    const control = new AbortController();
    const output = await collect(batcher.generate(request({ maxTokens: 2, signal: control.signal })));
    control.abort();
    await turns(3);
    expect(output).toMatchObject({ error: null, finishReason: "max-tokens" });
  });
});

describe("failure", () => {
  const lost = new ThermoclineError("UNAVAILABLE", "the GPU executor (pid 7) was killed; try again");

  test("requests in slots end with it after the tokens they have, those that wait go on", async () => {
    const { runner, batcher } = start({ slots: 1 });
    const asked = request({ promptTokens: [9], maxTokens: 4 });
    const running = collect(batcher.generate(request({})), (count) => {
      if (count === 3) runner.outcomes.push(lost);
    });
    const waiting = collect(batcher.generate(asked));
    const first = await running;
    expect(first.error).toBe(lost);
    expect(first.tokens).toEqual(loneRun(request({}), 40).tokens.slice(0, first.tokens.length));
    const steps = runner.steps.length;
    await turns(5);
    expect(runner.steps).toHaveLength(steps);
    runner.recover();
    expect(await waiting).toMatchObject(loneRun(asked, 40));
  });

  test("a request that comes while executors are away waits for them", async () => {
    const { runner, batcher } = start();
    runner.loseCaches();
    const asked = request({ maxTokens: 3 });
    const output = collect(batcher.generate(asked));
    await turns(5);
    expect(runner.steps).toHaveLength(0);
    runner.recover();
    expect(await output).toMatchObject(loneRun(asked, 40));
  });

  test("it can be cancelled while it waits for them", async () => {
    const { runner, batcher } = start();
    runner.loseCaches();
    const control = new AbortController();
    const output = collect(batcher.generate(request({ signal: control.signal })));
    await turns(2);
    control.abort();
    expect((await output).error).toMatchObject({ code: "CANCELLED" });
  });

  test("caches lost while a request rested end it rather than continue it with wrong ones", async () => {
    const { runner, batcher } = start({}, { maxBacklog: 2 });
    const events = batcher.generate(request({}))[Symbol.asyncIterator]();
    await until(() => runner.steps.length === 2, "two tokens are buffered");
    await turns(5);
    expect(runner.steps).toHaveLength(2);
    runner.loseCaches();
    runner.recover();
    expect((await events.next()).value).toMatchObject({ kind: "token" });
    expect((await events.next()).value).toMatchObject({ kind: "token" });
    await expect(events.next()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(runner.steps).toHaveLength(2);
  });

  test("when the executors are gone for good, those who wait and those who come get the reason", async () => {
    const { runner, batcher } = start();
    runner.loseCaches();
    const output = collect(batcher.generate(request({})));
    await turns(2);
    const reason = new ThermoclineError("UNAVAILABLE", "the executors failed 5 times in a row");
    runner.failForGood(reason);
    expect((await output).error).toBe(reason);
    expect(() => batcher.generate(request({}))).toThrow(reason);
  });

  test("a defect in one request's logits ends that request alone", async () => {
    const { runner, batcher } = start();
    const run = runner.run.bind(runner);
    runner.run = async (rows) => {
      const result = await run(rows);
      if (rows.some((row) => row.slot === 0 && row.position === 5))
        result.candidates[0]?.logits.fill(Number.NaN);
      return result;
    };
    const asked = request({ promptTokens: [9], maxTokens: 12 });
    const [broken, sound] = await Promise.all([
      collect(batcher.generate(request({}))),
      collect(batcher.generate(asked)),
    ]);
    expect(broken.error).toMatchObject({ code: "INTERNAL", message: expect.stringContaining("NaN") });
    expect(sound).toMatchObject(loneRun(asked, 40));
  });

  test("an error that is not ours becomes INTERNAL, and the next request is served", async () => {
    const { runner, batcher } = start();
    const run = runner.run.bind(runner);
    runner.run = () => Promise.reject(new TypeError("boom"));
    const { error } = await collect(batcher.generate(request({})));
    expect(error).toMatchObject({ code: "INTERNAL", message: "the step failed: boom" });
    runner.run = run;
    expect((await collect(batcher.generate(request({ maxTokens: 2 })))).tokens).toHaveLength(2);
  });
});

describe("back-pressure", () => {
  test("a reader that stops reading stops its own request alone, within the buffer's size", async () => {
    const { runner, batcher } = start({ contextLength: 200 }, { maxBacklog: 5 });
    const slow = batcher.generate(request({ promptTokens: [11] }));
    const asked = request({ promptTokens: [9], maxTokens: 50 });
    expect(await collect(batcher.generate(asked))).toMatchObject(loneRun(asked, 200));
    const rowsOfSlow = runner.steps.flat().filter((row) => row.slot === 0);
    expect(rowsOfSlow).toHaveLength(5);
    expect(await collect(slow)).toMatchObject(loneRun(request({ promptTokens: [11] }), 200));
  });
});

describe("a reader that stays and reads nothing", () => {
  test("loses its slot after a while, with what was handed on before", async () => {
    const { batcher } = start({ slots: 1, contextLength: 200 }, { maxBacklog: 5, stallMs: 20 });
    const stalled = batcher.generate(request({ promptTokens: [11] }));
    const asked = request({ promptTokens: [9], maxTokens: 5 });
    expect(await collect(batcher.generate(asked))).toMatchObject(loneRun(asked, 200));
    const output = await collect(stalled);
    expect(output.error).toMatchObject({
      code: "DEADLINE_EXCEEDED",
      message: expect.stringContaining("0.02 s"),
    });
    expect(output.tokens).toHaveLength(5);
  });
});

describe("while executors are away", () => {
  test("those who wait are told so after a while, and later ones are answered", async () => {
    const { runner, batcher } = start({}, { patienceMs: 20 });
    runner.loseCaches();
    const { error } = await collect(batcher.generate(request({})));
    expect(error).toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("0.02 s") });
    runner.recover();
    expect(await collect(batcher.generate(request({})))).toMatchObject(loneRun(request({}), 40));
  });
});

describe("close", () => {
  test("ends requests in slots and in the queue, refuses new ones, and waits for the step at hand", async () => {
    const { runner, batcher } = start({ slots: 1 });
    const running = collect(await startHeld(runner, batcher, request({})));
    const queued = collect(batcher.generate(request({})));
    let closed = false;
    const closing = batcher.close().then(() => {
      closed = true;
    });
    const gone = { code: "UNAVAILABLE", message: "the server is shutting down" };
    expect((await running).error).toMatchObject(gone);
    expect((await queued).error).toMatchObject(gone);
    expect(() => batcher.generate(request({}))).toThrow(expect.objectContaining(gone));
    await turns(3);
    expect(closed).toBe(false);
    runner.release();
    await closing;
  });

  test("does not wait for executors that are away", async () => {
    const { runner, batcher } = start();
    runner.loseCaches();
    const waiting = collect(batcher.generate(request({})));
    await turns(2);
    await batcher.close();
    expect((await waiting).error).toMatchObject({ code: "UNAVAILABLE" });
  });
});

describe("observer", () => {
  function recorder() {
    const log: string[] = [];
    let requests = 0;
    const observer: Observer = {
      request(_parent, promptTokens) {
        const name = `r${requests++}`;
        log.push(`${name} arrived with ${promptTokens}`);
        return {
          traceId: `trace-of-${name}`,
          admitted: () => log.push(`${name} admitted`),
          firstToken: () => log.push(`${name} first token`),
          finished: (outcome, prompt, generated) =>
            log.push(
              `${name} ${outcome instanceof Error ? outcome.message : outcome} ${prompt}+${generated}`,
            ),
        };
      },
      step: (result, shares) =>
        log.push(`step ${result.step}: ${shares.map(({ stage, rows }) => `${stage} ${rows}`).join(", ")}`),
    };
    return { log, observer };
  }

  test("hears of a request's life in order, and gives the summary its trace id", async () => {
    const { log, observer } = recorder();
    const { batcher } = start({}, {}, observer);
    const output = await collect(
      batcher.generate(request({ promptTokens: Array.from({ length: 10 }, () => 4), maxTokens: 2 })),
    );
    await turns(2);
    expect(log).toEqual([
      "r0 arrived with 10",
      "r0 admitted",
      "step 1: prefill 8",
      "step 2: prefill 2",
      "r0 first token",
      "step 3: decode 1",
      "r0 max-tokens 10+2",
    ]);
    expect(output.summary?.traceId).toBe("trace-of-r0");
  });

  test("hears of a step only after its tokens were read and the next step began", async () => {
    const { runner, batcher } = start(
      {},
      {},
      {
        request: NOOP_OBSERVER.request,
        step: (result) => order.push(`observed ${result.step} with ${runner.steps.length} begun`),
      },
    );
    const order: string[] = [];
    await collect(batcher.generate(request({ maxTokens: 3 })), (count) => order.push(`read ${count}`));
    await turns(2);
    expect(order.slice(0, 4)).toEqual([
      "read 1",
      "observed 1 with 2 begun",
      "read 2",
      "observed 2 with 3 begun",
    ]);
  });

  test("hears of every step while its timings are there, also when steps end before anything else can run", async () => {
    const seen: [step: number, timings: number][] = [];
    const { runner, batcher } = start(
      {},
      {},
      {
        request: NOOP_OBSERVER.request,
        step: ({ step, timings }) => seen.push([step, timings[0] ?? -1]),
      },
    );
    const buffers = [new Float64Array(1), new Float64Array(1)];
    let step = 0;
    runner.run = (rows) => {
      const timings = (buffers[++step % 2] ?? new Float64Array(1)).fill(step);
      const wanting = rows.filter(({ wantsLogits }) => wantsLogits);
      const candidates = wanting.map(({ candidates: count = 0 }) => highest(fakeLogits([step]), count));
      return Promise.resolve({ step, logits: [], candidates, startNs: 0, endNs: 0, timings });
    };
    await collect(batcher.generate(request({ maxTokens: 12 })));
    await turns(2);
    expect(seen).toEqual(Array.from({ length: 12 }, (_, index) => [index + 1, index + 1]));
  });

  test("hears of a cancellation in the queue", async () => {
    const { log, observer } = recorder();
    const { batcher } = start({}, {}, observer);
    await collect(batcher.generate(request({ signal: AbortSignal.abort() })));
    await turns(2);
    expect(log).toEqual(["r0 arrived with 3", "r0 the request was cancelled by its caller 3+0"]);
  });
});
