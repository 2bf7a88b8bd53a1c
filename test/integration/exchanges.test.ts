/** Neurons change places between real executor processes, under load and under fire. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { ExecutorClient } from "../../coordinator/executors/client.js";
import { exchanged } from "../../coordinator/executors/exchange.js";
import type { ExecutorGroup } from "../../coordinator/executors/group.js";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { loadModel } from "../../coordinator/model/load-model.js";
import type { Model } from "../../coordinator/model/model.js";
import { loadTokenizer } from "../../coordinator/model/tokenizer/load-tokenizer.js";
import { type ExchangeRound, RePlacement } from "../../coordinator/placement/re-placement.js";
import { LIVE_DEFAULTS, LiveRecorder } from "../../coordinator/profile/live-recorder.js";
import { Batcher } from "../../coordinator/schedule/batcher.js";
import { NOOP_OBSERVER } from "../../coordinator/telemetry/noop.js";
import { FIELD, field, RECORD_WIDTH } from "../../coordinator/telemetry/timing-records.js";
import { type Arena, type LayerExchange, PHASES, type Schedule } from "../../native/index.js";
import { unixAddress } from "../../proto/address.js";
import { storyPrompts } from "../support/bundled-model.js";
import {
  arenasOf,
  freeze,
  generate,
  groupOf,
  PROMPT,
  Scratch,
  spawned,
} from "../support/executor-processes.js";
import { SILENT } from "../support/fake-executor.js";
import { collect, request } from "../support/generation.js";
import { placement } from "../support/placements.js";
import { writeTinyModel } from "../support/tiny-model.js";

let scratch: Scratch;
let group: ExecutorGroup | null;
beforeEach(() => {
  scratch = new Scratch();
  group = null;
});
afterEach(async () => {
  await group?.close();
  expect(arenasOf(process.pid)).toEqual([]);
  await scratch.remove();
});

/** Pairs of a layer's neurons that lie on executor 0 and 1, from the `first`-th of each on. */
function pairs(schedule: Schedule, layer: number, first: number, count: number): LayerExchange {
  const owners = [...(schedule.layers[layer]?.neuronOwner ?? [])];
  const of = (executor: number) =>
    owners.flatMap((owner, neuron) => (owner === executor ? [neuron] : [])).slice(first, first + count);
  return { layer, first: Uint32Array.from(of(0)), second: Uint32Array.from(of(1)) };
}

describe("by order", () => {
  const SOURCES = [spawned("gpu"), spawned("cpu")];
  let models: Scratch;
  let model: Model;
  let expected: Float32Array[];
  beforeAll(async () => {
    models = new Scratch();
    model = await writeTinyModel(join(models.path, "tiny.gguf"), {
      seed: 11,
      type: "q8_0",
      predictorRank: 32,
    });
    const before = groupOf(model, SOURCES);
    await before.open();
    expected = await generate(before);
    await before.close();
  });
  afterAll(() => models.remove());

  async function open(): Promise<ExecutorGroup> {
    group = groupOf(model, SOURCES);
    await group.open();
    return group;
  }

  function scheduleOf(of: ExecutorGroup): Schedule {
    if (of.placement === null) throw new Error("nothing is placed");
    return of.placement.schedule;
  }

  /** Resolves once every executor has staged what `exchange` was called with, and the next step would apply it. */
  async function untilStaged(of: ExecutorGroup): Promise<void> {
    const exchanges = Reflect.get(of, "exchanges") as { next: unknown };
    await vi.waitFor(() => expect(exchanges.next).not.toBeNull());
  }

  /** Resolves once an executor has applied the exchange of the step at hand. */
  async function untilApplied(of: ExecutorGroup): Promise<void> {
    const arena = Reflect.get(of, "arena") as Arena;
    await vi.waitFor(() => {
      const { records } = arena.drainTimings();
      const starts = Array.from({ length: records.length / RECORD_WIDTH }, (_, i) => i * RECORD_WIDTH);
      expect(starts.map((at) => PHASES[field(records, at, FIELD.phase)])).toContain("exchange");
    });
  }

  /** Steps that executor 0 has computed since it loaded its weights. */
  async function stepsOfFirst(): Promise<bigint> {
    const folder = readdirSync(scratch.path).find((name) => name.startsWith("thermocline-")) ?? "";
    const client = new ExecutorClient(unixAddress(join(scratch.path, folder, "executor-0.sock")), "it");
    try {
      return (await client.status(null)).steps;
    } finally {
      client.close();
    }
  }

  test("the next step applies it, and the placement is the one after it", async () => {
    const both = await open();
    const before = scheduleOf(both);
    const layers = [pairs(before, 0, 0, 8), pairs(before, 2, 3, 5)];
    const done = both.exchange(layers);
    await untilStaged(both);
    expect(scheduleOf(both)).toBe(before);
    expect(await generate(both)).toEqual(expected);
    const { bytes, step, staging, applying } = await done;
    expect(step).toBe(1);
    // Gate, up and down of 64 weights in Q8_0, for 13 pairs.
    expect(bytes).toBe(2 * 13 * 3 * 68);
    expect(staging.endNs).toBeGreaterThan(staging.startNs);
    expect(applying.startNs).toBeGreaterThan(staging.endNs);
    expect(applying.endNs).toBeGreaterThan(applying.startNs);
    expect(scheduleOf(both)).toEqual(exchanged(before, layers));
    expect(await generate(both)).toEqual(expected);
  });

  test("what contradicts itself is refused with a sentence, and the next exchange goes on", async () => {
    const both = await open();
    const before = scheduleOf(both);
    const [neuron = 0] = pairs(before, 1, 0, 1).first;
    const stray = { layer: 1, first: Uint32Array.of(neuron), second: Uint32Array.of(neuron + 2) };
    await expect(both.exchange([stray])).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(
        /^the \w+ executor \(pid \d+\): layers\[0\]\.second\[0\] is 2, on executor 0 as is neuron 0, with which/,
      ),
    });
    const done = both.exchange([pairs(before, 1, 0, 4)]);
    await expect(both.exchange([stray])).rejects.toMatchObject({ code: "FAILED_PRECONDITION" });
    await untilStaged(both);
    expect(await generate(both)).toEqual(expected);
    await done;
  });

  test.each(["while it stages", "between staging and the step", "in the step that applies it"])(
    "SIGKILL of the CPU executor %s",
    async (when) => {
      const both = await open();
      await both.run(PROMPT);
      const before = scheduleOf(both);
      const layers = [pairs(before, 0, 2, 9), pairs(before, 1, 0, 3)];
      const victim = both.placement?.executors[1]?.pid ?? 0;
      if (when === "while it stages") await freeze(victim);
      const lost = expect(both.exchange(layers)).rejects.toMatchObject({ code: "UNAVAILABLE" });
      let applies = false;
      if (when !== "while it stages") await untilStaged(both);
      if (when === "in the step that applies it") {
        applies = true;
        await freeze(victim);
        const step = expect(both.run(PROMPT)).rejects.toMatchObject({ code: "UNAVAILABLE" });
        // The other executor has read the step by the time it waits for this one.
        await untilApplied(both);
        process.kill(victim, "SIGKILL");
        await step;
      } else {
        process.kill(victim, "SIGKILL");
      }
      await lost;
      await both.ready();
      expect(scheduleOf(both)).toEqual(applies ? exchanged(before, layers) : before);
      expect(await generate(both)).toEqual(expected);
      // The survivor kept its weights, whether or not they had changed places.
      expect(await stepsOfFirst()).toBeGreaterThanOrEqual(6n);
      const again = both.exchange([pairs(scheduleOf(both), 2, 0, 5)]);
      await untilStaged(both);
      expect(await generate(both)).toEqual(expected);
      await again;
    },
  );
});

describe("by live counts", () => {
  test("requests get the same tokens before, during and after", async () => {
    const model = await loadModel(bundledModelPath(), { activation: null });
    const limits = { maxRows: 64, maxLogitRows: 4, slots: 4, contextLength: 160 };
    group = groupOf(model, [spawned("gpu"), spawned("cpu")], {
      limits,
      observation: "counts",
      plan: () => placement({ layers: model.shape.layers, ff: model.shape.ff }, "half hot"),
    });
    await group.open();
    const onError = (error: unknown) => expect.fail(String(error));
    const recorder = new LiveRecorder(group, model.shape, { ...LIVE_DEFAULTS, onError });
    const batcher = new Batcher(recorder, loadTokenizer(model.file), NOOP_OBSERVER);
    const rounds: ExchangeRound[] = [];
    const rePlacement = new RePlacement({
      model,
      executors: group,
      firings: () => recorder.next(),
      onRound: (round) => rounds.push(round),
      log: SILENT,
      intervalMs: 0,
      // So that it takes many rounds to move everything: a neuron's rows are 3 KiB.
      mostBytes: 32 * 1024,
    });
    const prompts = storyPrompts(model);
    const answers = async () =>
      Promise.all(
        prompts.map(async (promptTokens) => {
          const { tokens, error } = await collect(batcher.generate(request({ promptTokens, maxTokens: 96 })));
          expect(error).toBeNull();
          return tokens;
        }),
      );
    const first = group.placement?.schedule;
    const before = await answers();
    rePlacement.start();
    const during = [await answers(), await answers()];
    rePlacement.close();
    const moved = rounds.reduce((sum, { neurons }) => sum + neurons, 0);
    expect(rounds.length).toBeGreaterThan(5);
    expect(moved).toBeGreaterThan(50);
    const after = await answers();
    expect(during).toEqual([before, before]);
    expect(after).toEqual(before);
    expect(group.placement?.schedule).not.toEqual(first);
    await batcher.close();
  });
});
