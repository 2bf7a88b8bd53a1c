/** The raw training of predictors: data objects, progress, cancellation and ends. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  LayerTraining,
  type LayerTrainingData,
  type PredictorFitOptions,
  type TrainingProgress,
} from "../../native/index.js";

const EMBD = 32;
const FF = 64;
const OPTIONS: PredictorFitOptions = {
  kind: "trained",
  rank: 32,
  type: "q8_0",
  recall: 0.9,
  epochs: 3,
  seed: 1,
  checkpoint: null,
};

let folder: string;
let data: LayerTrainingData;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "training-"));
  // Gate n is input n % embd; half of the neurons fire.
  const gate = Float32Array.from({ length: FF * EMBD }, (_, i) =>
    i % EMBD === Math.floor(i / EMBD) % EMBD ? 1 : 0,
  );
  const write = (name: string, rows: number, seed: number): string => {
    const path = join(folder, name);
    const records = Array.from({ length: rows }, (_, row) => {
      const inputs = Float32Array.from({ length: EMBD }, (_, i) => Math.sin(seed + row * 37.7 + i * i * 1.3));
      const fired = new Uint8Array(FF / 8);
      for (let n = 0; n < FF; n++) {
        if ((inputs[n % EMBD] ?? 0) > 0) fired[n >> 3] = (fired[n >> 3] ?? 0) | (1 << (n & 7));
      }
      return Buffer.concat([new Uint8Array(inputs.buffer), fired]);
    });
    writeFileSync(path, Buffer.concat(records));
    return path;
  };
  data = {
    embd: EMBD,
    ff: FF,
    gate,
    norm: new Float32Array(EMBD).fill(1),
    reluThreshold: 0,
    mostRank: 32,
    training: write("training", 300, 1),
    calibration: write("calibration", 60, 2),
    test: write("test", 60, 3),
    threads: 2,
  };
});
afterAll(() => rmSync(folder, { recursive: true }));

test("a predictor comes back as it is stored, with what it was measured to do", async () => {
  const layer = await LayerTraining.open(data);
  const seen: TrainingProgress[] = [];
  const fitted = await layer.fit(OPTIONS, (progress) => seen.push(progress), null);
  expect(fitted.fc1).toHaveLength((EMBD * 32 * 34) / 32);
  expect(fitted.fc2).toHaveLength((FF * 32 * 34) / 32);
  expect(fitted.calibration.rows).toBe(60);
  expect(fitted.calibration.found / fitted.calibration.fired).toBeGreaterThanOrEqual(0.9);
  expect(fitted.test.found).toBeLessThanOrEqual(Math.min(fitted.test.fired, fitted.test.predicted));
  expect(fitted.loss).toBeGreaterThan(0);
  expect(seen.at(-1)).toMatchObject({ epoch: 3, epochs: 3 });
  layer.close();
  expect(() => layer.close()).toThrow(expect.objectContaining({ code: "closed" }));
  await expect(layer.fit(OPTIONS, () => undefined, null)).rejects.toMatchObject({ code: "closed" });
});

test("an aborted signal ends a training, and the next one goes on", async () => {
  const layer = await LayerTraining.open(data);
  const controller = new AbortController();
  const long = { ...OPTIONS, epochs: 1_000_000 };
  await expect(layer.fit(long, () => controller.abort(), controller.signal)).rejects.toMatchObject({
    code: "cancelled",
  });
  expect((await layer.fit(OPTIONS, () => undefined, null)).test.rows).toBe(60);
  layer.close();
});

test("what is wrong is named", async () => {
  const open = (change: Partial<LayerTrainingData>) => LayerTraining.open({ ...data, ...change });
  await expect(open({ gate: new Float32Array(3) })).rejects.toMatchObject({ argument: "gate" });
  await expect(open({ norm: new Float32Array(3) })).rejects.toMatchObject({ argument: "norm" });
  await expect(open({ threads: 0 })).rejects.toMatchObject({ argument: "threads" });
  await expect(open({ test: join(folder, "missing") })).rejects.toMatchObject({ code: "not-found" });
  const layer = await open({});
  await expect(layer.fit({ ...OPTIONS, rank: 48 }, () => undefined, null)).rejects.toMatchObject({
    code: "unsupported",
    argument: "options.type",
  });
  layer.close();
});
