import { fc, test as property } from "@fast-check/vitest";
import { describe, expect, test } from "vitest";
import { exchanged } from "../../coordinator/executors/exchange.js";
import { chooseExchanges, type ExchangeLimits } from "../../coordinator/placement/choose-exchanges.js";
import type { Schedule } from "../../native/index.js";

const [GPU, CPU_A, CPU_B] = [0, 1, 2];

function scheduleOf(...owners: number[][]): Schedule {
  return {
    executors: ["gpu", "cpu", "cpu"],
    layers: owners.map((layer) => ({ attention: GPU, neuronOwner: Uint8Array.from(layer) })),
    head: GPU,
  };
}

const BYTES = 100;
const UNLIMITED: ExchangeLimits = { neuronBytes: [BYTES, BYTES, BYTES], mostBytes: 1 << 30 };

/** What was chosen, as plain numbers: [layer, neuron to leave the GPU executor, neuron to come there]. */
async function chosen(
  ...[schedule, firings, limits]: Parameters<typeof chooseExchanges>
): Promise<number[][]> {
  return (await chooseExchanges(schedule, firings, limits)).flatMap(({ layer, first, second }) =>
    [...first].map((hot, i) => [layer, hot, second[i] ?? -1]),
  );
}

describe("chooseExchanges", () => {
  test("the least often fired hot neuron goes for the most often fired cold one, whoever has it", async () => {
    const schedule = scheduleOf([GPU, GPU, CPU_A, CPU_B, CPU_A]);
    expect(await chosen(schedule, [[500, 10, 900, 1000, 100]], UNLIMITED)).toEqual([
      [0, 1, 3],
      [0, 0, 2],
    ]);
  });

  test("nothing moves where the placement is the best one already", async () => {
    expect(await chosen(scheduleOf([GPU, GPU, CPU_A, CPU_B]), [[1000, 900, 800, 700]], UNLIMITED)).toEqual(
      [],
    );
  });

  test("neurons that fire about alike stay", async () => {
    // A tenth more, however long it was counted.
    expect(await chosen(scheduleOf([GPU, CPU_A]), [[1e6, 1.1e6]], UNLIMITED)).toEqual([]);
    // Twice as often, which chance alone explains: the root of 30 is 5.5, three times that is more than 10.
    expect(await chosen(scheduleOf([GPU, CPU_A]), [[10, 20]], UNLIMITED)).toEqual([]);
    expect(await chosen(scheduleOf([GPU, CPU_A]), [[100, 200]], UNLIMITED)).toEqual([[0, 0, 1]]);
  });

  test("no more bytes than allowed, both ways together, and the best of all layers first", async () => {
    const schedule = scheduleOf([GPU, CPU_A, GPU, CPU_A], [GPU, CPU_A, GPU, CPU_A]);
    const firings = [
      [0, 100, 0, 400],
      [0, 300, 0, 200],
    ];
    expect(await chosen(schedule, firings, { ...UNLIMITED, mostBytes: 6 * BYTES - 1 })).toEqual([
      [0, 0, 3],
      [1, 0, 1],
    ]);
    expect(await chosen(schedule, firings, { ...UNLIMITED, mostBytes: 2 * BYTES - 1 })).toEqual([]);
  });

  test("layers that must stay, and layers on one side, stay", async () => {
    const schedule = scheduleOf([GPU, CPU_A], [GPU, GPU], [CPU_A, CPU_B]);
    const firings = [
      [0, 100],
      [0, 100],
      [0, 100],
    ];
    expect(await chosen(schedule, firings, { ...UNLIMITED, neuronBytes: [0, BYTES, BYTES] })).toEqual([]);
  });

  test("without a GPU executor nothing is hot", async () => {
    const cpus: Schedule = { ...scheduleOf([0, 1]), executors: ["cpu", "cpu"] };
    expect(await chosen(cpus, [[0, 100]], UNLIMITED)).toEqual([]);
  });

  const layer = fc.array(fc.record({ owner: fc.nat(2), count: fc.nat(5000) }), {
    minLength: 1,
    maxLength: 40,
  });
  property.prop([layer, fc.integer({ min: 1, max: 20 })])(
    "rounds end, at a placement where no exchange of two neurons is worth it, with as many neurons everywhere",
    async (neurons, pairsAtOnce) => {
      const counts = neurons.map(({ count }) => count);
      const limits = { neuronBytes: [BYTES], mostBytes: 2 * BYTES * pairsAtOnce };
      const sizeOf = ({ layers }: Schedule) =>
        [GPU, CPU_A, CPU_B].map((e) => layers[0]?.neuronOwner.filter((owner) => owner === e).length);
      let schedule = scheduleOf(neurons.map(({ owner }) => owner));
      const sizes = sizeOf(schedule);
      for (let round = 0; ; round++) {
        const exchanges = await chooseExchanges(schedule, [counts], limits);
        if (exchanges.length === 0) break;
        expect(round).toBeLessThan(neurons.length);
        schedule = exchanged(schedule, exchanges);
        expect(sizeOf(schedule)).toEqual(sizes);
      }
      const on = (hot: boolean) =>
        counts.filter((_, neuron) => (schedule.layers[0]?.neuronOwner[neuron] === GPU) === hot);
      const [coldest, hottest] = [Math.min(...on(true)), Math.max(...on(false))];
      const differ = hottest > 1.25 * coldest && hottest - coldest > 3 * Math.sqrt(hottest + coldest);
      expect(differ).toBe(false);
    },
  );
});
