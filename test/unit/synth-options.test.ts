/** The command line of `thermocline synth`, and what it reports. */
import { Command } from "commander";
import { describe, expect, test } from "vitest";
import { activityReport } from "../../coordinator/cli/activity-report.js";
import { addSynthOptions, parseSynthOptions } from "../../coordinator/cli/synth-options.js";
import { PRESETS } from "../../coordinator/model/synth/shapes.js";
import { TINY_DENSE, TINY_SYNTHETIC } from "../support/synthetic-model.js";

function parse(out: string, ...args: string[]) {
  const command = addSynthOptions(new Command()).exitOverride().parse(args, { from: "user" });
  return parseSynthOptions(out, command.opts());
}

describe("options", () => {
  test("are those of a tiny sparse model where nothing is given", () => {
    expect(parse("a.gguf")).toEqual({ model: TINY_SYNTHETIC, replace: false, measure: true });
  });

  test("of a dense model are those llama.cpp reads", () => {
    expect(parse("a.gguf", "--activation", "silu").model).toEqual(TINY_DENSE);
    expect(parse("a.gguf", "--activation", "silu", "--down", "neuron").model.downByNeuron).toBe(true);
    expect(parse("a.gguf", "--down", "output").model.downByNeuron).toBe(false);
  });

  test("override the preset's sizes, which is then no longer that preset", () => {
    const { model } = parse("a.gguf", "--preset", "llama-7b", "--layers", "3", "--kv-heads", "8");
    expect(model.shape).toEqual({ ...PRESETS["llama-7b"].shape, layers: 3, kvHeads: 8 });
    expect(model.preset).toBeNull();
    const longer = parse("a.gguf", "--preset", "llama-7b", "--ctx", "8192").model;
    expect(longer.shape.contextLength).toBe(8192);
    expect(longer.preset).toBe("llama-7b");
  });

  test("take the format from the file's name unless it is given", () => {
    expect(parse("a.pwri").model.format).toBe("pwri");
    expect(parse("a.pwri", "--format", "gguf").model.format).toBe("gguf");
    expect(parse("a.gguf", "--format", "pwri").model.format).toBe("pwri");
  });

  test("store predictors as weights are stored unless told otherwise", () => {
    expect(parse("a.pwri", "--predictor-rank", "64").model.predictor).toEqual({ rank: 64, type: "q4_0" });
    const given = parse("a.pwri", "--predictor-rank", "64", "--predictor-type", "f16");
    expect(given.model.predictor).toEqual({ rank: 64, type: "f16" });
  });

  test.each([
    ["tinyllama-1.1b", [], true],
    ["llama-7b", [], false],
    ["llama-7b", ["--measure"], true],
    ["tiny", ["--no-measure"], false],
    ["llama-7b", ["--layers", "2"], true],
  ])("measure %s with %j: %s", (preset, args, measured) => {
    expect(parse("a.gguf", "--preset", preset, ...args).measure).toBe(measured);
  });
});

describe("the report", () => {
  const layer = (
    number: number,
    firing: number,
    predictor: { predicted: number; recall: number } | null,
  ) => ({
    layer: number,
    firing,
    predictor,
  });

  test("says what was asked for beside what was measured", () => {
    const layers = [0.2, 0.05, 0.11].map((firing, number) => layer(number, firing, null));
    expect(activityReport({ sparsity: 0.9 }, { tokens: 128, layers })).toBe(
      "sparsity: asked for 90.00 %, measured 88.00 % over 128 random tokens " +
        "(layers: least 80.00 %, median 89.00 %, most 95.00 %)",
    );
  });

  test("tells of predictors", () => {
    const layers = [layer(0, 0.1, { predicted: 0.12, recall: 0.97 })];
    expect(activityReport({ sparsity: 0.9 }, { tokens: 8, layers }).split("\n")[1]).toBe(
      "predictors: find 97.00 % of the neurons that fire (layers: least 97.00 %, median 97.00 %, most 97.00 %) and " +
        "take 12.00 % of all for active",
    );
  });

  test("does not claim a measurement that was not made", () => {
    expect(activityReport({ sparsity: 0.9 }, null)).toBe(
      "sparsity: asked for 90.00 %, not measured (--measure runs the model)",
    );
  });
});
