/** `thermocline synth`: a model of any shape with random weights and a sparsity that was chosen. */
import { Command } from "commander";
import { formatBytes } from "../../proto/units.js";
import { type Activity, measureActivity } from "../measure-activity.js";
import { loadModel } from "../model/load-model.js";
import { synthesize } from "../model/synth/synthesize.js";
import { activityReport } from "./activity-report.js";
import { writeModelFile } from "./file-command.js";
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
  await writeModelFile("writing", async (watch) => {
    const bytes = await synthesize(out, model, { replace, ...watch });
    return { summary: `wrote ${out}: ${formatBytes(bytes)} as ${model.type}`, substitutions: [], notes: [] };
  });
  const activity = measure ? await measured(out) : null;
  process.stdout.write(`${activityReport(model, activity)}\n`);
}

async function measured(path: string): Promise<Activity> {
  process.stderr.write("running it to measure its sparsity\n");
  const interruption = onceInterrupted();
  const { signal } = interruption;
  try {
    return await measureActivity(await loadModel(path, { activation: null }), { signal });
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    interruption.release();
  }
}
