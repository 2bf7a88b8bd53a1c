/** From model, profile and machine to times and bytes. */
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { toProblem } from "../../coordinator/placement/cost-model.js";
import { EXAMPLE_MACHINES } from "../../coordinator/placement/example-machines.js";
import { footprintOf } from "../../coordinator/placement/footprint.js";
import { heatOf } from "../../coordinator/placement/heat.js";
import type { PlacementMachine } from "../../coordinator/placement/machine.js";
import { place } from "../../coordinator/placement/place.js";
import type { Profile } from "../../coordinator/placement/profile.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";

const SIZES = { slots: 1, contextLength: 32, maxRows: 4 };
const folder = temporaryFolder();
let files = 0;
const tiny = (options: Partial<TinyModelOptions>) => writeTinyModel(join(folder, `${files++}.gguf`), options);
const { machine: EXAMPLE } = EXAMPLE_MACHINES[0] as { machine: PlacementMachine };

test("layer N goes by the profile's layer N, also where there are more than ten", async () => {
  const layers = 13;
  const model = await tiny({ layers, ff: 64 });
  // In layer N, the neurons from N on fire, and no others.
  const counts = Array.from({ length: layers }, (_, layer) =>
    Float32Array.from({ length: 64 }, (_, neuron) => (neuron >= layer && neuron < layer + 8 ? 100 : 0)),
  );
  const profile: Profile = { path: "profile", tokens: 100, counts };
  const heat = heatOf(model, profile, 8, 1);
  for (const [layer, { order, active }] of heat.layers.entries()) {
    expect([...order.subarray(0, 8)]).toEqual(Array.from({ length: 8 }, (_, index) => layer + index));
    expect(active).toEqual([8, 0, 0, 0, 0, 0, 0, 0]);
  }
  const executors = [
    { kind: "gpu", device: "host", card: null, budgetBytes: 0, threads: 1 },
    { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: 1 },
  ] as const;
  const machine = { ...EXAMPLE, handOverUs: 0, residualUs: 0, gpu: { ...EXAMPLE.gpu, startUs: 0 } };
  // So slow that whatever fits on the card belongs there.
  machine.cpu = { ...EXAMPLE.cpu, bytesPerS: 1e6, startUs: 0 };
  const inputs = {
    model,
    executors,
    sizes: SIZES,
    profile,
    machine,
    uniformShare: 1,
    groupSize: 8,
    position: 0,
  };
  // Of all the neurons, those that fire are what half of the memory is for.
  const whole = await place(inputs, { iterations: 0, limitMs: 0, enough: 0, signal: null });
  const budgetBytes = Math.floor(0.75 * ((whole.needs?.weightBytes ?? 0) + (whole.needs?.scratchBytes ?? 0)));
  const { schedule } = await place(
    { ...inputs, executors: [{ ...executors[0], budgetBytes }, executors[1]] },
    { iterations: 0, limitMs: 0, enough: 0, signal: null },
  );
  const split = schedule.layers.filter(
    ({ neuronOwner }) => neuronOwner.includes(0) && neuronOwner.includes(1),
  );
  expect(split.length).toBeGreaterThan(0);
  for (const [layer, { neuronOwner }] of schedule.layers.entries()) {
    if (neuronOwner.includes(0)) {
      expect(neuronOwner.subarray(layer, layer + 8), `layer ${layer}`).toEqual(new Uint8Array(8));
    }
  }
});

describe("a layer's neurons", () => {
  test("cost every gate, and up and down of those that fire; with a predictor, nothing else", async () => {
    const options = { layers: 1, ff: 64, embd: 64, type: "f32" } as const;
    const profile = { path: "", tokens: 4, counts: [new Float32Array(64).fill(1)] };
    const machine = {
      ...EXAMPLE,
      cpu: {
        ...EXAMPLE.cpu,
        bytesPerS: 1e9,
        kernels: [{ type: "any" as const, stage: "any" as const, share: 1 }],
      },
    };
    const coldBytes = async (given: Partial<TinyModelOptions>, without: RegExp | null = null) => {
      const whole = await tiny({ ...options, ...given });
      const model = { ...whole, tensors: whole.tensors.filter(({ name }) => without?.test(name) !== true) };
      const problem = toProblem({
        ...{
          model,
          machine,
          budgetBytes: 1e9,
          scratchBytes: 0,
          position: 0,
          firstCpuShare: 1,
          cpuExecutors: 1,
        },
        heat: heatOf(model, profile, 32, 1),
        footprint: footprintOf(model, SIZES, { device: "host", threads: 1 }),
      });
      return (problem.layers[0]?.coldS[0] ?? 0) * 1e9;
    };
    const row = 64 * 4;
    expect(await coldBytes({})).toBeCloseTo(64 * row * (1 + 2 / 4), 3);
    expect(await coldBytes({ predictorRank: 32 })).toBeCloseTo(64 * row * (3 / 4), 3);
    // A layer without one in a model that has some.
    expect(await coldBytes({ predictorRank: 32 }, /^blk\.0\.fc/)).toBeCloseTo(64 * row * (1 + 2 / 4), 3);
    expect(await coldBytes({ activation: "silu" })).toBeCloseTo(64 * row * 3, 3);
    // Of a block of 32, of which a quarter fires, next to surely some do.
    expect(await coldBytes({ downTransposed: false })).toBeCloseTo(
      64 * row * (1 + 1 / 4 + (1 - 0.75 ** 32)),
      3,
    );
  });
});

test("parts never take less memory than the whole of them", async () => {
  for (const type of ["f32", "q8_0"] as const) {
    const model = await tiny({ layers: 2, ff: 160, type, predictorRank: 32 });
    const footprint = footprintOf(model, SIZES, { device: "host", threads: 2 });
    const { neuronBytes } = footprint.layers[0] ?? { neuronBytes: () => 0 };
    expect(3 * neuronBytes(32)).toBeGreaterThanOrEqual(neuronBytes(96));
    expect(neuronBytes(96)).toBeGreaterThan(neuronBytes(64));
  }
});
