/** The placement policy on tiny models, asked for their real memory needs. */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import { EXAMPLE_MACHINES } from "../../coordinator/placement/example-machines.js";
import type { PlacementMachine } from "../../coordinator/placement/machine.js";
import { type Placed, place as placeWith, wholeModelBytes } from "../../coordinator/placement/place.js";
import type { Profile } from "../../coordinator/placement/profile.js";
import { enginePlan, type PlacementExecutor } from "../../coordinator/placement/schedule.js";
import type { ServingSizes } from "../../coordinator/placement/sizes.js";
import { memoryNeeds, type Schedule, type WeightType } from "../../native/index.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";

const SIZES: ServingSizes = { slots: 2, contextLength: 32, maxRows: 8 };
const CPU: PlacementExecutor = { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: 1 };
const gpu = (budgetBytes: number): PlacementExecutor => ({
  kind: "gpu",
  device: "host",
  card: null,
  budgetBytes,
  threads: 1,
});
/** So fast a card, so slow a CPU and so quick a way between them that every byte of the card's memory is worth having. */
const FAST_CARD: PlacementMachine = {
  ...(EXAMPLE_MACHINES[0] as { machine: PlacementMachine }).machine,
  handOverUs: 0,
  residualUs: 0,
};
FAST_CARD.gpu = { ...FAST_CARD.gpu, bytesPerS: 1e15, startUs: 0 };
FAST_CARD.cpu = { ...FAST_CARD.cpu, bytesPerS: 1e6, startUs: 0 };

function placedOn(
  placed: Model,
  executors: readonly PlacementExecutor[],
  sizes: ServingSizes,
  profile: Profile | null,
  groupSize = 1,
): Promise<Placed> {
  const inputs = { model: placed, executors, sizes, profile, machine: FAST_CARD, uniformShare: 1, groupSize };
  return placeWith({ ...inputs, position: null }, { iterations: 0, limitMs: 0, enough: 0, signal: null });
}

async function place(...args: Parameters<typeof placedOn>): Promise<Schedule> {
  return (await placedOn(...args)).schedule;
}

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
    { residency: "resident", budgetBytes: 0, threads: 1, pinTo: [], instructionSet: null, library: null },
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

/** Everybody fires now and then: a predictor leaves the others out, wherever they are. */
function countsOf(layers: number, ff: number, random: Random): Profile {
  const counts = Array.from({ length: layers }, () =>
    Float32Array.from({ length: ff }, () => 1 + random.integer(999)),
  );
  return { path: "a profile", tokens: 1000, counts };
}

describe("over thousands of random models, sizes and budgets", () => {
  const TYPES: WeightType[] = ["f32", "f16", "q8_0", "q4_0"];
  const MODELS = 24;
  const BUDGETS = 84;

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
      const groupSize = pick([1, 8, 32]);
      let schedule: Schedule;
      try {
        schedule = await place(placed, executors, sizes, profile, groupSize);
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
      if (i % 8 === 0) expect(await place(placed, executors, sizes, profile, groupSize)).toEqual(schedule);
    }
    expect(refused).toBeLessThan(BUDGETS);
  });
});

describe("the budget", () => {
  test("that holds everything to the byte puts everything on the GPU executor, one byte less does not", async () => {
    const whole = wholeModelBytes(model, SIZES);
    const full = await place(model, [gpu(whole), CPU], SIZES, null);
    expect(bytesOf(model, full, 0, SIZES)).toBe(whole);
    expect(full.head).toBe(0);
    expect(full.layers.map(({ attention }) => attention)).toEqual([0, 0, 0]);
    expect(owned(full, 0).flat()).not.toContain(false);

    const less = await place(model, [gpu(whole - 1), CPU], SIZES, null);
    expect(bytesOf(model, less, 0, SIZES)).toBeLessThan(whole);
    // Neurons are what is given up first.
    expect(less.head).toBe(0);
    expect(less.layers.map(({ attention }) => attention)).toEqual([0, 0, 0]);
    expect(owned(less, 1).flat().filter(Boolean).length).toBeGreaterThan(0);
  });

  test("of 0 is none: everything fits", async () => {
    expect(await place(model, [CPU, gpu(0)], SIZES, null)).toEqual(
      await place(model, [CPU, gpu(Number.MAX_SAFE_INTEGER)], SIZES, null),
    );
    expect(owned(await place(model, [CPU, gpu(0)], SIZES, null), 1).flat()).not.toContain(false);
  });

  test("is used up: not one more neuron would have fitted, and what fits to the byte is placed", async () => {
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
    const schedule = await place(model, [gpu(budget), CPU], SIZES, null);
    expect(await place(model, [gpu(bytesOf(model, schedule, 0, SIZES)), CPU], SIZES, null)).toEqual(schedule);
    const spare = structuredClone(schedule);
    const layer = spare.layers.find(({ neuronOwner }) => neuronOwner.includes(1));
    layer?.neuronOwner.set([0], layer.neuronOwner.indexOf(1));
    expect(bytesOf(model, schedule, 0, SIZES)).toBeLessThanOrEqual(budget);
    expect(bytesOf(model, spare, 0, SIZES)).toBeGreaterThan(budget);
  });

  test("grows, and the predicted step never takes longer", async () => {
    const whole = wholeModelBytes(model, SIZES);
    let before = Number.POSITIVE_INFINITY;
    for (let percent = 10; percent <= 100; percent += 2) {
      const budget = Math.ceil((whole * percent) / 100);
      const { prediction, needs } = await placedOn(model, [gpu(budget), CPU], SIZES, null);
      expect(prediction.totalS).toBeLessThanOrEqual(before * 1.01);
      expect(needs?.weightBytes).toBeGreaterThan(0);
      before = prediction.totalS;
    }
  });

  test("one byte too small for the head is filled with neurons", async () => {
    const bare = await place(model, [gpu(0), CPU], SIZES, null);
    for (const { neuronOwner } of bare.layers) neuronOwner.fill(1);
    const schedule = await place(model, [gpu(bytesOf(model, bare, 0, SIZES) - 1), CPU], SIZES, null);
    expect(schedule.head).toBe(1);
    expect(count(owned(schedule, 0).flat())).toBeGreaterThan(0);
  });

  test("that does not hold one layer's attention is refused with both numbers and the ways out", async () => {
    await expect(place(model, [gpu(1000), CPU], SIZES, null)).rejects.toThrow(
      expect.objectContaining({
        code: "RESOURCE_EXHAUSTED",
        message: expect.stringMatching(
          /^a VRAM budget of 1000 B is too small .* take \d.* [KM]iB; raise --vram-budget, .*--ctx.*--gpu off$/,
        ),
      }),
    );
  });

  test("that is too small, with no CPU executor for the rest, is refused", async () => {
    const whole = wholeModelBytes(model, SIZES);
    await expect(place(model, [gpu(whole - 1)], SIZES, null)).rejects.toThrow(/no CPU executor for the rest/);
    expect(owned(await place(model, [gpu(whole)], SIZES, null), 0).flat()).not.toContain(false);
  });
});

describe("which neurons are hot", () => {
  test("with a profile: those that fired most, over all layers", async () => {
    const { layers, ff } = model.shape;
    const profile = countsOf(layers, ff, new Random(7));
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
    const hot = owned(await place(model, [gpu(budget), CPU], SIZES, profile), 0);
    const counts = (wanted: boolean) =>
      hot.flatMap((neurons, layer) =>
        neurons.flatMap((isHot, neuron) => (isHot === wanted ? [profile.counts[layer]?.[neuron] ?? 0] : [])),
      );
    expect(counts(true).length).toBeGreaterThan(0);
    expect(counts(false).length).toBeGreaterThan(0);
    expect(Math.min(...counts(true))).toBeGreaterThanOrEqual(Math.max(...counts(false)));
  });

  test("without one: the first of each layer, since none is known to be hotter", async () => {
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.8);
    const hot = owned(await place(model, [gpu(budget), CPU], SIZES, null), 0);
    expect(hot.flat()).toContain(false);
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
      const schedule = await place(blocked, [CPU, gpu(budget), CPU], SIZES, profile);
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
  test("alone, one computes everything", async () => {
    const schedule = await place(model, [CPU], SIZES, null);
    expect(schedule.head).toBe(0);
    expect(schedule.layers.every(({ attention }) => attention === 0)).toBe(true);
    expect(owned(schedule, 0).flat()).not.toContain(false);
  });

  test("share the cold neurons block by block, and the first of them has attention and head", async () => {
    const schedule = await place(model, [CPU, CPU, CPU], SIZES, null);
    expect(schedule.head).toBe(0);
    for (const { attention, neuronOwner } of schedule.layers) {
      expect(attention).toBe(0);
      expect([0, 1, 2].map((executor) => neuronOwner.filter((owner) => owner === executor).length)).toEqual([
        32, 32, 32,
      ]);
    }
  });

  test("share what the GPU executor does not hold, wherever in the order it comes", async () => {
    const budget = Math.floor(wholeModelBytes(model, SIZES) * 0.7);
    const schedule = await place(model, [CPU, gpu(budget), CPU], SIZES, null);
    const cold = count(owned(schedule, 0).flat()) + count(owned(schedule, 2).flat());
    expect(count(owned(schedule, 1).flat()) + cold).toBe(model.shape.layers * model.shape.ff);
    expect(count(owned(schedule, 2).flat())).toBeGreaterThan(0);
  });
});

test("two GPU executors are refused", async () => {
  await expect(place(model, [gpu(0), gpu(0), CPU], SIZES, null)).rejects.toThrow(
    expect.objectContaining({ code: "UNIMPLEMENTED" }),
  );
});

test("the whole model's bytes hold at least the file's matrices", async () => {
  const matrices = model.tensors.reduce((sum, { rows, cols }) => sum + rows * cols * 4, 0);
  expect(wholeModelBytes(model, SIZES)).toBeGreaterThanOrEqual(matrices);
});
