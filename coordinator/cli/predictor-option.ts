/** `--predictor`, which serving commands and the benchmarks share. */
import type { Command } from "commander";
import { z } from "zod";
import type { PredictorUse } from "../model/predictor.js";

export function addPredictorOption(command: Command): Command {
  return command.option(
    "--predictor <use>",
    "activation predictors: auto uses the file's, on insists on them, off computes every gate, a number uses them " +
      "and is the logit from which a neuron counts as active (0 is a probability of one half)",
    "auto",
  );
}

export function predictorUse() {
  return z.string().transform((text, context): PredictorUse => {
    if (text === "auto" || text === "on" || text === "off") return text;
    const threshold = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
    // Executors hold it as a 32-bit float.
    if (Number.isFinite(Math.fround(threshold))) return { threshold };
    context.addIssue(`--predictor is "${text}"; give auto, on, off, or a number, such as -2.5`);
    return z.NEVER;
  });
}
