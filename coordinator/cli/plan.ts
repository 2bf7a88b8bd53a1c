/** `thermocline plan`: which part of a model goes where, why, and how fast that will be. */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { Command } from "commander";
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";
import { DEFAULT_SLOTS } from "../serving-defaults.js";
import { parseOptions, whole } from "./option-values.js";
import { explanation, reportJson, reportText } from "./plan-output.js";
import { picture } from "./plan-picture.js";
import { addExecutionOptions, EXECUTION_SCHEMA, executionOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";
import { StatusLine } from "./status-line.js";

export function planCommand(): Command {
  const command = new Command("plan")
    .description("Plans which layers and neurons go to the GPU executor, and predicts how fast that is.")
    .option(
      "--machine <name>",
      "plans for a machine file, or for rtx-4090-ddr5, rtx-3090-ddr4 or rtx-2080ti-ddr4 (default: measures this machine)",
    )
    .option("--measure", "measures this machine again, although it is known", false)
    .option("--ctx <n>", "positions a request may use (default: the model's, at most 4096)")
    .option("--slots <n>", "requests that run at the same time", String(DEFAULT_SLOTS))
    .option("--position <n>", "positions before the token whose time counts (default: half of --ctx)")
    .option("--group <n>", "neurons that are placed together", "64")
    .option("--explain <layer>", "says why a layer is placed as it is")
    .option("--svg <file>", "draws the placement")
    .option("--save <file>", "writes the placement, for --placement of other commands")
    .option("--json", "prints JSON", false);
  return addExecutionOptions(command)
    .addHelpText(
      "after",
      `
What was measured and planned is kept in the user's cache folder, where serve, generate and perplexity find it.

Examples:
  thermocline plan --model model.gguf --gpu host --vram-budget 2GiB
  thermocline plan --model model.gguf --machine rtx-4090-ddr5 --ctx 2048 --slots 1 --explain 0 --svg plan.svg`,
    )
    .action(async (raw: unknown) => plan(parseOptions(schema, raw)));
}

const schema = z.object({
  ...EXECUTION_SCHEMA,
  machine: z.string().min(1, "--machine is empty; give a name or a file").nullable().default(null),
  measure: z.boolean(),
  ctx: whole("--ctx", 2, 2 ** 20)
    .nullable()
    .default(null),
  slots: whole("--slots", 1, 256),
  position: whole("--position", 0, 2 ** 20)
    .nullable()
    .default(null),
  group: whole("--group", 1, 2 ** 20),
  explain: whole("--explain", 0, 2 ** 20)
    .nullable()
    .default(null),
  svg: z.string().nullable().default(null),
  save: z.string().nullable().default(null),
  json: z.boolean(),
});

async function plan(options: z.infer<typeof schema>): Promise<void> {
  if (options.placement !== null) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      "--placement is what plan --save writes; leave it out here",
    );
  }
  const execution = executionOptions(options);
  const status = new StatusLine();
  const interruption = onceInterrupted();
  const { signal } = interruption;
  try {
    // Most of the program, which other commands start without.
    const { runPlan } = await import("../plan.js");
    const report = await runPlan(
      {
        ...execution,
        machine: options.machine,
        remeasure: options.measure,
        contextLength: options.ctx,
        slots: options.slots,
        groupSize: options.group,
        position: options.position,
      },
      {
        onStage: (text, limitMs) => status.show(text, limitMs),
        warn: (line) => status.note(`thermocline: ${line}`),
        signal,
      },
    );
    status.end();
    const { layers } = report.model.shape;
    if (options.explain !== null && options.explain >= layers) {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `--explain is ${options.explain}, and the model has layers 0 to ${layers - 1}`,
      );
    }
    if (options.save !== null) {
      const { writePlacement } = await import("../placement/placement-file.js");
      writePlacement(resolve(options.save), report.model, report.placed.schedule);
    }
    if (options.svg !== null) write(resolve(options.svg), picture(report));
    process.stdout.write(options.json ? reportJson(report) : reportText(report));
    if (options.explain !== null && !options.json) process.stdout.write(explanation(report, options.explain));
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  } finally {
    status.end();
    interruption.release();
  }
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ThermoclineError("FAILED_PRECONDITION", `--svg ${path}: ${why}; give another path`);
  }
}
