#!/usr/bin/env node
/** The `thermocline` command. */
import { Command } from "commander";
import { ThermoclineError } from "../proto/errors.js";
import { VERSION } from "../proto/version.js";
import { convertCommand } from "./cli/convert.js";
import { doctorCommand } from "./cli/doctor.js";
import { generateCommand } from "./cli/generate.js";
import { inspectCommand } from "./cli/inspect.js";
import { serveCommand } from "./cli/serve.js";

const program = new Command("thermocline")
  .description("Runs a language model larger than the graphics card fast on one PC.")
  .version(VERSION)
  .showHelpAfterError("(--help shows the options)")
  .addCommand(serveCommand())
  .addCommand(generateCommand())
  .addCommand(convertCommand())
  .addCommand(inspectCommand())
  .addCommand(doctorCommand())
  .addHelpText(
    "after",
    `
Examples:
  thermocline generate --prompt "Once upon a time" --layers
  thermocline serve --model model.gguf --vram-budget 8GiB
  thermocline inspect model.gguf`,
  );

try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof ThermoclineError)) throw error;
  process.stderr.write(`thermocline: ${error.message}\n`);
  process.exitCode = 1;
}
