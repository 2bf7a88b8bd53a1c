/** The options of `thermocline synth`, and the model they ask for. */
import { type Command, Option } from "commander";
import { z } from "zod";
import type { WeightType } from "../../native/index.js";
import type { SynthOptions } from "../model/synth/options.js";
import { PRESET_NAMES, PRESETS, type SynthShape, weightsOf } from "../model/synth/shapes.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import { decimal, parseOptions, whole, whole64 } from "./option-values.js";

const TYPES = Object.keys(WEIGHT_TYPES) as [WeightType, ...WeightType[]];
const DEFAULT_SPARSITY = 0.9;
/** With it and 90 % sparsity, a fifth of a layer's 11008 neurons do 59 % of the firing. */
const DEFAULT_SKEW = 0.8;
/** Measuring loads the whole model; larger ones are measured when asked for. */
const MOST_WEIGHTS_MEASURED = 1.2e9;

export interface SynthCommandOptions {
  model: SynthOptions;
  replace: boolean;
  /** Whether to run the model after writing it. */
  measure: boolean;
}

export function addSynthOptions(command: Command): Command {
  return command
    .addOption(
      new Option("--preset <name>", "the model whose shape it gets").choices(PRESET_NAMES).default("tiny"),
    )
    .option("--layers <n>", "overrides the preset's layers")
    .option("--embd <n>", "overrides its width")
    .option("--heads <n>", "overrides its attention heads")
    .option("--kv-heads <n>", "overrides its key/value heads")
    .option("--ff <n>", "overrides its neurons a layer")
    .option("--vocab <n>", "overrides its vocabulary's size")
    .option("--ctx <n>", "overrides the positions it says it was trained on")
    .addOption(new Option("--type <type>", "how weight matrices are stored").choices(TYPES).default("q4_0"))
    .addOption(
      new Option(
        "--format <format>",
        "llama.cpp's or PowerInfer's (default: pwri for OUT.pwri, else gguf)",
      ).choices(["gguf", "pwri"]),
    )
    .addOption(
      new Option("--activation <name>", "relu, or silu for a dense model that llama.cpp computes alike")
        .choices(["relu", "silu"])
        .default("relu"),
    )
    .option(
      "--sparsity <share>",
      `share of neurons that a token leaves inactive (default with relu: ${DEFAULT_SPARSITY})`,
    )
    .option(
      "--skew <exponent>",
      "a neuron's frequency falls as this power of its rank; 0 makes all alike",
      String(DEFAULT_SKEW),
    )
    .addOption(
      new Option(
        "--down <layout>",
        "down-projection with one row a neuron (ffn_down_t) or one row an output, as llama.cpp wants it " +
          "(default: neuron with relu, output with silu)",
      ).choices(["neuron", "output"]),
    )
    .option("--predictor-rank <n>", "adds predictors (fc1, fc2) of n hidden units; 0 adds none", "0")
    .addOption(
      new Option(
        "--predictor-type <type>",
        "how predictors are stored (default: as weight matrices are)",
      ).choices(TYPES),
    )
    .option("--seed <n>", "same seed and options, same file", "1")
    .option("--force", "replaces the file if it exists")
    .option(
      "--measure",
      "runs the model afterwards and prints its sparsity (default up to the 1.1B preset's size)",
    )
    .option("--no-measure", "does not run it");
}

const MOST_SIZE = 2 ** 24;
const size = (option: string) => whole(option, 1, MOST_SIZE).nullable().default(null);
const type = z.enum(TYPES);

const schema = z.object({
  preset: z.enum(PRESET_NAMES as [(typeof PRESET_NAMES)[number]]),
  layers: size("--layers"),
  embd: size("--embd"),
  heads: size("--heads"),
  kvHeads: size("--kv-heads"),
  ff: size("--ff"),
  vocab: size("--vocab"),
  ctx: whole("--ctx", 2, 2 ** 20)
    .nullable()
    .default(null),
  type,
  format: z.enum(["gguf", "pwri"]).nullable().default(null),
  activation: z.enum(["relu", "silu"]),
  sparsity: decimal("--sparsity", 0.01, 0.999).nullable().default(null),
  skew: decimal("--skew", 0, 3),
  down: z.enum(["neuron", "output"]).nullable().default(null),
  predictorRank: whole("--predictor-rank", 0, 2 ** 16),
  predictorType: type.nullable().default(null),
  seed: whole64("--seed"),
  force: z.boolean().default(false),
  measure: z.boolean().nullable().default(null),
});

/** Checks what commander collected. @throws ThermoclineError INVALID_ARGUMENT */
export function parseSynthOptions(out: string, raw: unknown): SynthCommandOptions {
  const options = parseOptions(schema, raw);
  const { layers, embd, heads, kvHeads, ff, vocab, activation } = options;
  const base: SynthShape = PRESETS[options.preset].shape;
  const overrides = { layers, embd, heads, kvHeads, ff, vocab, contextLength: options.ctx };
  const isPreset = [layers, embd, heads, kvHeads, ff, vocab].every((value) => value === null);
  const given = Object.fromEntries(Object.entries(overrides).filter(([, value]) => value !== null));
  const shape: SynthShape = { ...base, ...given };
  return {
    model: {
      preset: isPreset ? options.preset : null,
      shape,
      format: options.format ?? (out.endsWith(".pwri") ? "pwri" : "gguf"),
      type: options.type,
      activation,
      downByNeuron: (options.down ?? (activation === "relu" ? "neuron" : "output")) === "neuron",
      sparsity: options.sparsity ?? (activation === "relu" ? DEFAULT_SPARSITY : null),
      skew: options.skew,
      predictor:
        options.predictorRank === 0
          ? null
          : { rank: options.predictorRank, type: options.predictorType ?? options.type },
      seed: options.seed,
    },
    replace: options.force,
    measure: options.measure ?? weightsOf(shape) <= MOST_WEIGHTS_MEASURED,
  };
}
