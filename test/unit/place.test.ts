/** The placement policy on tiny models, asked for their real memory needs. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import {
  enginePlan,
  type PlacementExecutor,
  place,
  type ServingSizes,
  wholeModelBytes,
} from "../../coordinator/placement/place.js";
import type { Profile } from "../../coordinator/placement/profile.js";
import { memoryNeeds, type Schedule, type WeightType } from "../../native/index.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";

const SIZES: ServingSizes = { slots: 2, contextLength: 32, maxRows: 8 };
const CPU: PlacementExecutor = { kind: "cpu", budgetBytes: 0, threads: 1 };
const gpu = (budgetBytes: number): PlacementExecutor => ({ kind: "gpu", budgetBytes, threads: 1 });

const folder = temporaryFolder();
let files = 0;
function tiny(options: Partial<TinyModelOptions>): Promise<Model> {
  return writeTinyModel(join(folder, `tiny-${files++}.gguf`), options);
}

let model: Model;
beforeAll(async () => {
  model = await tiny({ seed: 1 });
});

/** What `executor` will reserve for the schedule, as the GPU executor itself reckons. */
function bytesOf(placed: Model, schedule: Schedule, executor: number, sizes: ServingSizes): number {
  const { weightBytes, kvCacheBytes, scratchBytes } = memoryNeeds(
    enginePlan(placed, schedule, executor, sizes),
    { residency: "resident", budgetBytes: 0, threads: 1, pinTo: [], instructionSet: null },
  );
  return weightBytes + kvCacheBytes + scratchBytes;
}

/** For each layer, which neurons `executor` owns. */
function owned({ layers }: Schedule, executor: number): boolean[][] {
  return layers.map(({ neuronOwner }) => [...neuronOwner].map((owner) => owner === executor));
}

function count(neurons: readonly boolean[]): number {
  return neurons.filter(Boolean).length;
}

function countsOf(layers: number, ff: number, random: Random): Profile {
  const counts = Array.from({ length: layers }, () =>
    Float32Array.from({ length: ff }, () => random.integer(1000)),
  );
  return { path: "a profile", tokens: 1000, counts };
}

describe("over hundreds of random models, sizes and budgets", () => {
  const TYPES: WeightType[] = ["f32", "f16", "q8_0", "q4_0"];
  const MODELS = 24;
  const BUDGETS = 20;

  test.each(Array.from({ length: MODELS }, (_, seed) => seed))("model %d", async (seed) => {
    const random = new Random(seed);
    const pick = <T>(values: readonly [T, ...T[]]): T => values[random.integer(values.length)] ?? values[0];
    const random32s = (most: number) => 32 * (1 + random.integer(most));
    const placed = await tiny({
      seed,
      type: TYPES[seed % TYPES.length] ?? "f32",
      layers: 1 + random.integer(4),
      ff: random32s(8),
      downTransposed: random.uniform() < 0.5,
      tied: random.uniform() < 0.5,
      predictorRank: random.uniform() < 0.3 ? 32 : null,
    });
    const { layers, ff } = placed.shape;
    const sizes: ServingSizes = {
      slots: 1 + random.integer(4),
      contextLength: 8 * (1 + random.integer(8)),
      maxRows: pick([4, 16, 64]),
    };
    const whole = wholeModelBytes(placed, sizes);
    let refused = 0;
    for (let i = 0; i < BUDGETS; i++) {
      const budget = 1 + random.integer(Math.ceil(whole * 1.1));
      const executors = Array.from({ length: 1 + random.integer(3) }, () => CPU);
      executors.splice(random.integer(executors.length + 1), 0, gpu(budget));
      const card = executors.findIndex(({ kind }) => kind === "gpu");
      const profile = random.uniform() < 0.5 ? countsOf(layers, ff, random) : null;
      let schedule: Schedule;
      try {
        schedule = place(placed, executors, sizes, profile);
      } catch (error) {
        expect(error).toMatchObject({ code: "RESOURCE_EXHAUSTED", message: /too small for this model/ });
        expect(budget).toBeLessThan(whole);
        refused++;
        continue;
      }
      expect(bytesOf(placed, schedule, card, sizes)).toBeLessThanOrEqual(budget);
      expect(schedule.executors).toEqual(executors.map(({ kind }) => kind));
      for (const { attention, neuronOwner } of schedule.layers) {
        expect(neuronOwner).toHaveLength(ff);
        expect(Math.max(attention, schedule.head, ...neuronOwner)).toBeLessThan(executors.length);
      }
      // Nothing that was placed would have been refused with more.
      if (budget >= whole) expect(owned(schedule, card).flat()).not.toContain(false);
      // The same again gives the same again.
      expect(place(placed, executors, sizes, profile)).toEqual(schedule);
    }
    expect(refused).toBeLessThan(BUDGETS);
  });
});

describe("the budget", () => {
  test("that holds everything to the byte puts everything on the GPU executor, one byte less does not", () => {
    const whole = wholeModelBytes(model, SIZES);
    const full = place(model, [gpu(whole), CPU], SIZES, null);
    expect(bytesOf(model, full, 0, SIZES)).toBe(whole);
    expect(full.head).toBe(0);
    expect(full.layers.map(({ attention }) => attention)).toEqual([0, 0, 0]);
    expect(owned(full, 0).flat()).not.toContain(false);

    const less = place(model, [gpu(whole - 1), CPU], SIZES, null);
    expect(bytesOf(model, less, 0, SIZES)).toBeLessThan(whole);
    // Neurons are what is given up first.
    expect(less.head).toBe(0);
    expect(less.layers.map(({ attention }) => attention)).toEqual([0, 0, 0]);
    expect(owned(less, 1).flat().filter(Boolean).length).toBeGreaterThan(0);
  });

  test("of 0 is none: everything fits", () => {
    expect(place(model, [CPU, gpu(0)], SIZES, null)).toEqual(
      place(model, [CPU, gpu(Number.MAX_SAFE_INTEGER)], SIZES, null),
    );
    expect(owned(place(model, [CPU, gpu(0)], SIZES, null), 1).flat()).not.toContain(false);
  });

  test("is used up: not one more neuron would have fitted, and what fits to the byte is placed", () => {
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
    const schedule = place(model, [gpu(budget), CPU], SIZES, null);
    expect(place(model, [gpu(bytesOf(model, schedule, 0, SIZES)), CPU], SIZES, null)).toEqual(schedule);
    const spare = structuredClone(schedule);
    const layer = spare.layers.find(({ neuronOwner }) => neuronOwner.includes(1));
    layer?.neuronOwner.set([0], layer.neuronOwner.indexOf(1));
    expect(bytesOf(model, schedule, 0, SIZES)).toBeLessThanOrEqual(budget);
    expect(bytesOf(model, spare, 0, SIZES)).toBeGreaterThan(budget);
  });

  test("grows, and so does what is placed, attention before the head before neurons", () => {
    const whole = wholeModelBytes(model, SIZES);
    let before = { attention: 0, head: 0, neurons: 0 };
    for (let percent = 20; percent <= 100; percent += 2) {
      const schedule = place(model, [gpu(Math.ceil((whole * percent) / 100)), CPU], SIZES, null);
      const now = {
        attention: schedule.layers.filter(({ attention }) => attention === 0).length,
        head: schedule.head === 0 ? 1 : 0,
        neurons: count(owned(schedule, 0).flat()),
      };
      expect(now.attention).toBeGreaterThanOrEqual(before.attention);
      expect(now.head).toBeGreaterThanOrEqual(before.head);
      if (now.head === 1) expect(now.attention).toBe(model.shape.layers);
      before = now;
    }
    expect(before).toEqual({ attention: 3, head: 1, neurons: model.shape.layers * model.shape.ff });
  });

  test("one byte too small for the head is filled with neurons", () => {
    const bare = place(model, [gpu(0), CPU], SIZES, null);
    for (const { neuronOwner } of bare.layers) neuronOwner.fill(1);
    const schedule = place(model, [gpu(bytesOf(model, bare, 0, SIZES) - 1), CPU], SIZES, null);
    expect(schedule.head).toBe(1);
    expect(count(owned(schedule, 0).flat())).toBeGreaterThan(0);
  });

  test("that does not hold one layer's attention is refused with both numbers and the ways out", () => {
    expect(() => place(model, [gpu(1000), CPU], SIZES, null)).toThrow(
      expect.objectContaining({
        code: "RESOURCE_EXHAUSTED",
        message: expect.stringMatching(
          /^a VRAM budget of 1000 B is too small .* take \d.* [KM]iB; raise --vram-budget, .*--ctx.*--gpu off$/,
        ),
      }),
    );
  });

  test("that is too small, with no CPU executor for the rest, is refused", () => {
    const whole = wholeModelBytes(model, SIZES);
    expect(() => place(model, [gpu(whole - 1)], SIZES, null)).toThrow(/no CPU executor for the rest/);
    expect(owned(place(model, [gpu(whole)], SIZES, null), 0).flat()).not.toContain(false);
  });
});

describe("which neurons are hot", () => {
  test("with a profile: those that fired most, over all layers", () => {
    const { layers, ff } = model.shape;
    const profile = countsOf(layers, ff, new Random(7));
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
    const hot = owned(place(model, [gpu(budget), CPU], SIZES, profile), 0);
    const counts = (wanted: boolean) =>
      hot.flatMap((neurons, layer) =>
        neurons.flatMap((isHot, neuron) => (isHot === wanted ? [profile.counts[layer]?.[neuron] ?? 0] : [])),
      );
    expect(counts(true).length).toBeGreaterThan(0);
    expect(counts(false).length).toBeGreaterThan(0);
    expect(Math.min(...counts(true))).toBeGreaterThanOrEqual(Math.max(...counts(false)));
  });

  test("without one: the first of every layer, equally many to within one", () => {
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
    const hot = owned(place(model, [gpu(budget), CPU], SIZES, null), 0);
    const each = hot.map(count);
    expect(Math.max(...each) - Math.min(...each)).toBeLessThanOrEqual(1);
    for (const neurons of hot) expect(neurons.lastIndexOf(true)).toBe(count(neurons) - 1);
  });

  test.each([
    { type: "q8_0", ff: 160, block: 32 },
    { type: "q4_k", ff: 1280, block: 256 },
  ] as const)(
    "where down-projections are stored one row an output, blocks of $block stay together",
    async ({ type, ff, block: blockSize }) => {
      const blocked = await tiny({ seed: 5, ff, embd: 256, headDim: 64, downTransposed: false, type });
      const profile = countsOf(blocked.shape.layers, ff, new Random(11));
      const budget = Math.floor(wholeModelBytes(blocked, SIZES) * 0.85);
      const schedule = place(blocked, [CPU, gpu(budget), CPU], SIZES, profile);
      const heat: { hot: boolean; sum: number }[] = [];
      for (const [layer, { neuronOwner }] of schedule.layers.entries()) {
        for (let first = 0; first < ff; first += blockSize) {
          const block = neuronOwner.subarray(first, first + blockSize);
          expect(new Set(block).size).toBe(1);
          const sum = profile.counts[layer]?.subarray(first, first + blockSize).reduce((a, b) => a + b) ?? 0;
          heat.push({ hot: block[0] === 1, sum });
        }
      }
      const sums = (hot: boolean) => heat.filter((block) => block.hot === hot).map(({ sum }) => sum);
      expect(sums(true).length).toBeGreaterThan(0);
      expect(Math.min(...sums(true))).toBeGreaterThanOrEqual(Math.max(...sums(false)));
    },
  );
});

describe("CPU executors", () => {
  test("alone, one computes everything", () => {
    const schedule = place(model, [CPU], SIZES, null);
    expect(schedule.head).toBe(0);
    expect(schedule.layers.every(({ attention }) => attention === 0)).toBe(true);
    expect(owned(schedule, 0).flat()).not.toContain(false);
  });

  test("share the cold neurons block by block, and the first of them has attention and head", () => {
    const schedule = place(model, [CPU, CPU, CPU], SIZES, null);
    expect(schedule.head).toBe(0);
    for (const { attention, neuronOwner } of schedule.layers) {
      expect(attention).toBe(0);
      expect([0, 1, 2].map((executor) => neuronOwner.filter((owner) => owner === executor).length)).toEqual([
        32, 32, 32,
      ]);
    }
  });

  test("share what the GPU executor does not hold, wherever in the order it comes", () => {
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.7);
    const schedule = place(model, [CPU, gpu(budget), CPU], SIZES, null);
    const cold = count(owned(schedule, 0).flat()) + count(owned(schedule, 2).flat());
    expect(count(owned(schedule, 1).flat()) + cold).toBe(model.shape.layers * model.shape.ff);
    expect(count(owned(schedule, 2).flat())).toBeGreaterThan(0);
  });
});

test("two GPU executors are refused", () => {
  expect(() => place(model, [gpu(0), gpu(0), CPU], SIZES, null)).toThrow(
    expect.objectContaining({ code: "UNIMPLEMENTED" }),
  );
});

test("the whole model's bytes hold at least the file's matrices", () => {
  const matrices = model.tensors.reduce((sum, { rows, cols }) => sum + rows * cols * 4, 0);
  expect(wholeModelBytes(model, SIZES)).toBeGreaterThanOrEqual(matrices);
});
