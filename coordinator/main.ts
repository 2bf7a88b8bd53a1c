#!/usr/bin/env node
/** The `thermocline` command. */
import { Command } from "commander";
import { NativeError } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import { VERSION } from "../proto/version.js";
import { convertCommand } from "./cli/convert.js";
import { doctorCommand } from "./cli/doctor.js";
import { generateCommand } from "./cli/generate.js";
import { inspectCommand } from "./cli/inspect.js";
import { perplexityCommand } from "./cli/perplexity.js";
import { planCommand } from "./cli/plan.js";
import { profileCommand } from "./cli/profile.js";
import { quantizeCommand } from "./cli/quantize.js";
import { serveCommand } from "./cli/serve.js";
import { Interrupted } from "./cli/signals.js";
import { synthCommand } from "./cli/synth.js";
import { trainPredictorCommand } from "./cli/train-predictor.js";

const program = new Command("thermocline")
  .description("Runs a language model larger than the graphics card fast on one PC.")
  .version(VERSION)
  .showHelpAfterError("(--help shows the options)")
  .addHelpText(
    "after",
    `
Examples:
  thermocline generate --prompt "Once upon a time" --layers
  thermocline serve --model model.gguf --vram-budget 8GiB
  thermocline inspect model.gguf

Exit codes: 0 done, 1 failed or called wrongly, 130 and 143 ended by SIGINT and SIGTERM before it was done.`,
  );
for (const command of [
  serveCommand(),
  generateCommand(),
  perplexityCommand(),
  planCommand(),
  profileCommand(),
  convertCommand(),
  quantizeCommand(),
  synthCommand(),
  trainPredictorCommand(),
  inspectCommand(),
  doctorCommand(),
]) {
  program.addCommand(command.copyInheritedSettings(program));
}

// Whoever reads our output may stop reading: `thermocline inspect model.gguf | head`.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exitCode = 0;
});

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = report(error);
}

/** Says why on stderr, in one sentence. @returns the exit code */
function report(error: unknown): number {
  if (error instanceof Interrupted) return error.exitCode;
  if (!(error instanceof ThermoclineError || error instanceof NativeError)) throw error;
  process.stderr.write(`thermocline: ${error.message}\n`);
  return 1;
}
