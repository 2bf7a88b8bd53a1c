import { expect, test } from "vitest";
import { chooseLayers, describeChoice, type LayerTrial } from "../../bench/peer-layers.js";

const MIB = 1024 ** 2;
const SURVEY = {
  ...({ kind: "surveyed", totalLayers: 33, estimatedLayers: 20, layerBytes: 100 * MIB } as const),
  ...{ freeBytes: 4096 * MIB, memoryBytes: 8192 * MIB },
};
const BUDGET = 2048 * MIB;

/** A peer of 300 MiB and 100 MiB a layer, so that 17 fit into the budget, and what it was tried with. */
function peer(rate: (layers: number) => number) {
  const tried: number[] = [];
  const attempt = (layers: number): Promise<LayerTrial> => {
    tried.push(layers);
    return Promise.resolve({ layers, vramBytes: (300 + 100 * layers) * MIB, tokensPerS: rate(layers) });
  };
  return { tried, attempt };
}

test("takes the largest number that fits by measurement, whatever was estimated", async () => {
  const { tried, attempt } = peer((layers) => layers);
  const choice = await chooseLayers(SURVEY, BUDGET, attempt);
  expect(choice.chosen).toEqual({ layers: 17, vramBytes: 2000 * MIB, tokensPerS: 17 });
  expect(choice.tried.map(({ layers }) => layers)).toEqual([17, 16, 15]);
  // Each is loaded once, and no more than the estimate's error asks for.
  expect(tried).toEqual([20, 17, 18, 16, 15]);
  expect(describeChoice(choice, 33)).toBe(
    "17 of 33 layers on the card, the fastest of 17: 17.0 tokens/s, 16: 16.0 tokens/s, 15: 15.0 tokens/s",
  );
});

test("takes a smaller number where that is faster, and says so", async () => {
  const choice = await chooseLayers(SURVEY, BUDGET, peer((layers) => (layers === 15 ? 99 : layers)).attempt);
  expect(choice.chosen.layers).toBe(15);
});

test("a budget that holds the whole model has all of its layers, and nothing else is tried", async () => {
  const { tried, attempt } = peer(() => 50);
  const whole = { ...SURVEY, estimatedLayers: 33 };
  const choice = await chooseLayers(whole, 3700 * MIB, attempt);
  expect(tried).toEqual([33]);
  expect(describeChoice(choice, 33)).toBe("33 of 33 layers on the card, all of them");
});

test("a card that is full before the budget is used up does not end the search", async () => {
  const { attempt } = peer((layers) => layers);
  const choice = await chooseLayers({ ...SURVEY, estimatedLayers: 16 }, BUDGET, (layers) =>
    layers > 16 ? Promise.resolve(null) : attempt(layers),
  );
  expect(choice.chosen.layers).toBe(16);
});

test("tries no negative number of layers", async () => {
  const { tried, attempt } = peer(() => 1);
  const choice = await chooseLayers({ ...SURVEY, estimatedLayers: 0 }, 350 * MIB, attempt);
  expect(choice.tried.map(({ layers }) => layers)).toEqual([0]);
  expect(tried).toEqual([0, 1]);
});

test("refuses a card that has less free than the budget, and a budget too small for any layers", async () => {
  const { tried, attempt } = peer(() => 1);
  await expect(chooseLayers({ ...SURVEY, freeBytes: 1024 * MIB }, BUDGET, attempt)).rejects.toMatchObject({
    code: "RESOURCE_EXHAUSTED",
    message:
      "--vram-budget is 2.00 GiB, and beside us the card has 1.00 GiB of 8.00 GiB free for llama.cpp; give at most half " +
      "of what it has free alone",
  });
  expect(tried).toEqual([]);
  await expect(chooseLayers(SURVEY, 200 * MIB, attempt)).rejects.toThrow(
    "--vram-budget is 200.0 MiB, and llama.cpp takes 300.0 MiB of the card's memory even with no layer on it; give more",
  );
  await expect(chooseLayers(SURVEY, BUDGET, () => Promise.resolve(null))).rejects.toThrow(
    "takes more than the card has",
  );
});
