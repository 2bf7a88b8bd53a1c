/**
 * The engine's logits against the oracle's: weight types, activations, instruction sets, batches and placements. Batches
 * and placements must not change a bit.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import { machine, type Schedule, type WeightType } from "../../native/index.js";
import { readOracleModel } from "../oracle/model.js";
import { EngineRounding } from "../oracle/rounding.js";
import { Tolerance } from "../oracle/tolerance.js";
import { EngineStack } from "../support/engine-stack.js";
import { placement, placements } from "../support/placements.js";
import { Random } from "../support/random.js";
import { firstDifference } from "../support/same-bits.js";
import { inChunks, interleaved, runSteps } from "../support/steps.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { TINY, type TinyModelOptions, writeTinyModel } from "../support/tiny-model.js";
import { TINY_VOCAB } from "../support/tiny-vocabulary.js";

const WEIGHT_TYPES: WeightType[] = ["f32", "f16", "q8_0", "q4_0"];
/** A gate near a threshold may fall either way, in the runs with random rounding that set the limits too. */
const GATES: Pick<TinyModelOptions, "activation" | "reluThreshold">[] = [
  { activation: "relu", reluThreshold: 0 },
  { activation: "relu", reluThreshold: 0.25 },
  { activation: "relu2", reluThreshold: 0 },
  { activation: "relu2", reluThreshold: 0.25 },
  { activation: "silu", reluThreshold: 0 },
];

const folder = temporaryFolder();
const random = new Random(42);
const sequences = [40, 9, 5].map((length) => Array.from({ length }, () => random.integer(TINY_VOCAB)));

const BATCHES = {
  "1 row a step": inChunks(sequences, 1),
  "7 rows of 3 slots": interleaved(sequences, [3, 2, 2]),
  "a prompt in one step": inChunks(sequences, 40),
  "a prompt in chunks of 16": inChunks(sequences, 16),
  "a prompt in chunks of 7": inChunks(sequences, 7),
};

describe.each(WEIGHT_TYPES)("%s weights", (type) => {
  describe.each(GATES)("$activation, threshold $reluThreshold", (gates) => {
    let model: Model;
    let tolerance: Tolerance;
    /** Logits of one executor. */
    let plain: Float32Array[];
    beforeAll(async () => {
      const path = join(folder, `${type}-${gates.activation}-${gates.reluThreshold}.gguf`);
      model = await writeTinyModel(path, { type, ...gates });
      tolerance = Tolerance.ofMachine(
        readOracleModel(model),
        sequences,
        (draws) => new EngineRounding(draws),
      );
      plain = await logitsOf(placement(TINY, "one CPU executor"));
    });

    async function logitsOf(schedule: Schedule): Promise<Float32Array[]> {
      const stack = await EngineStack.start(model, schedule);
      try {
        return await runSteps(stack, BATCHES["7 rows of 3 slots"]);
      } finally {
        await stack.close();
      }
    }

    test.each(machine().instructionSets)("%s kernels, every batch shape", async (instructionSet) => {
      const schedule = placement(TINY, "one CPU executor");
      const stack = await EngineStack.start(model, schedule, { engine: { instructionSet } });
      try {
        const single = await runSteps(stack, BATCHES["1 row a step"]);
        expect(tolerance.judge(single).ratio, "error over limit").toBeLessThan(1);
        for (const [name, steps] of Object.entries(BATCHES)) {
          expect(firstDifference(await runSteps(stack, steps), single), name).toBeNull();
        }
      } finally {
        await stack.close();
      }
    });

    test.each(placements(TINY, 1))("$name", async ({ schedule }) => {
      const logits = await logitsOf(schedule);
      expect(tolerance.judge(logits).ratio, "error over limit").toBeLessThan(1);
      expect(firstDifference(logits, plain)).toBeNull();
    });
  });
});
