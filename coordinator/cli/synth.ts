/** `thermocline synth`: a model of any shape with random weights and a sparsity that was chosen. */
import { Command } from "commander";
import { ThermoclineError } from "../../proto/errors.js";
import { formatBytes } from "../../proto/units.js";
import { measureActivity } from "../measure-activity.js";
import { loadModel } from "../model/load-model.js";
import { synthesize } from "../model/synth/synthesize.js";
import { activityReport } from "./activity-report.js";
import { ByteProgress } from "./byte-progress.js";
import { onceInterrupted } from "./signals.js";
import { addSynthOptions, parseSynthOptions, type SynthCommandOptions } from "./synth-options.js";

export function synthCommand(): Command {
  const command = new Command("synth")
    .description(
      "Writes a synthetic model: random weights in a real model's shape, to measure speed with. Which share of its " +
        "neurons fires, and how unevenly, is set by the signs of its gates.",
    )
    .argument("<out>", "the file to write");
  return addSynthOptions(command)
    .addHelpText(
      "after",
      `
Every file is of the llama architecture: falcon-40b has Falcon's sizes, and a gate matrix that Falcon does not have.
llama.cpp loads GGUF files with --down output, and computes all of them as SiLU.

Examples:
  thermocline synth tiny.gguf
  thermocline synth 7b.gguf --preset llama-7b --sparsity 0.9
  thermocline synth 7b.pwri --preset llama-7b --sparsity 0.9 --predictor-rank 1024
  thermocline synth 1b-dense.gguf --preset tinyllama-1.1b --activation silu --type q8_0`,
    )
    .action(async (out: string, options: unknown) => synth(out, parseSynthOptions(out, options)));
}

async function synth(out: string, { model, replace, measure }: SynthCommandOptions): Promise<void> {
  const progress = new ByteProgress("writing");
  const interruption = onceInterrupted();
  const { signal } = interruption;
  try {
    const bytes = await synthesize(out, model, {
      replace,
      onProgress: (bytesDone, bytesTotal) => progress.update(bytesDone, bytesTotal),
      signal,
    });
    progress.stop();
    process.stderr.write(`wrote ${out}: ${formatBytes(bytes)} as ${model.type}\n`);
    if (measure) process.stderr.write("running it to measure its sparsity\n");
    const activity = measure
      ? await measureActivity(await loadModel(out, { activation: null }), { signal })
      : null;
    process.stdout.write(`${activityReport(model, activity)}\n`);
  } catch (error) {
    if (!signal.aborted) throw error;
    if (error instanceof ThermoclineError && error.code === "CANCELLED")
      process.stderr.write(`thermocline: ${error.message}\n`);
    throw signal.reason;
  } finally {
    progress.stop();
    interruption.release();
  }
}
