/** The bundled model on the engine: logits against the oracle's, and the same output however it is computed. */
import { beforeAll, describe, expect, test } from "vitest";
import type { Model } from "../../coordinator/model/model.js";
import type { EngineOptions, Schedule, WeightType } from "../../native/index.js";
import { readOracleModel } from "../oracle/model.js";
import { EngineRounding } from "../oracle/rounding.js";
import { Tolerance } from "../oracle/tolerance.js";
import { bundledModelAs, storyPrompts } from "../support/bundled-model.js";
import { EngineStack } from "../support/engine-stack.js";
import { type Generation, generateGreedily } from "../support/greedy.js";
import { placement, placements } from "../support/placements.js";
import { firstDifference } from "../support/same-bits.js";
import { inChunks, runSteps } from "../support/steps.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const GENERATED = 64;
const CONTEXT = 128;
/** The bundled model's, so that placements can be listed before it is loaded. */
const SHAPE = { layers: 5, ff: 768 };

describe.each<WeightType>(["f32", "f16", "q8_0", "q4_0"])("the bundled model as %s", (type) => {
  let model: Model;
  let prompts: number[][];
  /** One executor, one thread, each prompt in one step. */
  let plain: Generation;
  beforeAll(async () => {
    model = await bundledModelAs(type, folder);
    prompts = storyPrompts(model);
    plain = await generate(whole(), {}, 32);
  });

  const whole = () => placement(SHAPE, "one CPU executor");
  async function generate(schedule: Schedule, engine: Partial<EngineOptions>, chunk: number) {
    const stack = await EngineStack.start(model, schedule, { contextLength: CONTEXT, engine });
    try {
      return await generateGreedily(stack, prompts, GENERATED, chunk);
    } finally {
      await stack.close();
    }
  }

  function expectSameBits({ tokens, logits }: Generation): void {
    expect(tokens).toEqual(plain.tokens);
    expect(logits.map((rows, slot) => firstDifference(rows, plain.logits[slot] ?? []))).toEqual(
      prompts.map(() => null),
    );
  }

  test("has the shape these tests place, and gives what they compare", () => {
    expect(model.shape).toMatchObject(SHAPE);
    expect(plain.logits.map((rows) => rows.length)).toEqual(prompts.map(() => GENERATED));
  });

  test.each(["one CPU executor", "half hot", "attention on each in turn"])("logits, %s", async (name) => {
    const [tokens = []] = prompts;
    const tolerance = toleranceOf(model, tokens);
    const stack = await EngineStack.start(model, placement(SHAPE, name), { contextLength: CONTEXT });
    try {
      const { ratio } = tolerance.judge(await runSteps(stack, inChunks([tokens], 7)));
      expect(ratio, "error over limit").toBeLessThan(1);
    } finally {
      await stack.close();
    }
  });

  test.each([2, 3])("%i threads give the same bits", async (threads) => {
    expectSameBits(await generate(whole(), { threads }, 32));
  });

  test.each([1, 7])("prompts in chunks of %i give the same bits", async (chunk) => {
    expectSameBits(await generate(whole(), {}, chunk));
  });

  test("copied weights give the same bits", async () => {
    expectSameBits(await generate(whole(), { residency: "resident" }, 32));
  });

  test("each prompt alone gives the same bits", async () => {
    const stack = await EngineStack.start(model, whole(), { contextLength: CONTEXT });
    try {
      for (const [slot, prompt] of prompts.entries()) {
        const alone = await generateGreedily(stack, [prompt], GENERATED, 32);
        expect(firstDifference(alone.logits[0] ?? [], plain.logits[slot] ?? [])).toBeNull();
      }
    } finally {
      await stack.close();
    }
  });

  test.each(placements(SHAPE, 1))("the same bits, $name", async ({ schedule }) => {
    expectSameBits(await generate(schedule, { threads: 2 }, 7));
  });
});

const tolerances = new Map<string, Tolerance>();
function toleranceOf(model: Model, tokens: readonly number[]): Tolerance {
  const known = tolerances.get(model.path);
  if (known !== undefined) return known;
  const oracle = readOracleModel(model);
  const tolerance = Tolerance.ofMachine(oracle, [tokens], (draws) => new EngineRounding(draws));
  tolerances.set(model.path, tolerance);
  return tolerance;
}
