/** `thermocline profile`: which neurons of a model are hot. */
import { resolve } from "node:path";
import { Command } from "commander";
import { z } from "zod";
import { ThermoclineError } from "../../proto/errors.js";
import { logLevelOption } from "./log-level.js";
import { parseOptions, whole } from "./option-values.js";
import { reportJson, reportText, stageText } from "./profile-output.js";
import { addExactExecutionOptions, EXACT_EXECUTION_SCHEMA, executionOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";
import { StatusLine } from "./status-line.js";

export function profileCommand(): Command {
  const command = new Command("profile")
    .description(
      "Counts how often, and how strongly, each neuron of a model fires while it reads texts. Placement puts the hottest " +
        "on the GPU.",
    )
    .option("--text <file...>", "texts in UTF-8; without any, the profile there is gets shown")
    .option("--out <file>", "where the profile is kept (default: beside the model, where serve looks for it)")
    .option("--ctx <n>", "tokens of a window (default: 512, or the model's context if that is less)")
    .option("--tokens <n>", "reads so many tokens of each text, rounded up to whole windows (default: all)")
    .option("--fresh", "begins the profile anew")
    .option("--plot <file>", "draws the share of activations against that of neurons, as .svg or .png")
    .option("--json", "prints JSON");
  return addExactExecutionOptions(command)
    .addOption(logLevelOption("warn"))
    .addHelpText(
      "after",
      `
Each text is cut into windows of --ctx tokens, and each is read alone behind a beginning-of-sequence token, with exact
gates: predictors are left out. The profile is saved every few seconds. Ctrl-C ends the command with what the windows
read by then gave; called again it goes on from there, and with further texts it adds them.

Hot neurons are the fewest that carry 80 % of all activations. With two or more texts, their overlap is printed: hot
neurons of both over those of either, and what share of one text's activations the other one's hot neurons carry.

Examples:
  thermocline profile --model model.gguf --text wiki.txt code.txt
  thermocline profile --model model.gguf --text wiki.txt --tokens 100000 --plot profile.svg
  thermocline profile --model model.gguf --plot profile.png`,
    )
    .action(async (raw: unknown) => profile(parseOptions(schema, raw)));
}

const schema = z.object({
  ...EXACT_EXECUTION_SCHEMA,
  text: z.array(z.string().min(1, "--text is empty; give the path of a text file")).default([]),
  out: z.string().min(1, "--out is empty; give the path of the profile").nullable().default(null),
  ctx: whole("--ctx", 2, 2 ** 20)
    .nullable()
    .default(null),
  tokens: whole("--tokens", 1, 2 ** 40)
    .nullable()
    .default(null),
  fresh: z.boolean().default(false),
  plot: z.string().nullable().default(null),
  json: z.boolean().default(false),
  logLevel: z.string(),
});

async function profile(options: z.infer<typeof schema>): Promise<void> {
  const execution = executionOptions(options);
  if (options.fresh && options.text.length === 0) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      "--fresh begins a profile anew; give texts to do so with --text",
    );
  }
  const status = new StatusLine();
  const interruption = onceInterrupted();
  const { signal } = interruption;
  try {
    // Most of the program, which other commands start without.
    const [{ runProfile }, { checkPlotPath, writePlot }, { plotSvg }, { summarize }] = await Promise.all([
      import("../profile/run.js"),
      import("../profile/plot-file.js"),
      import("../profile/plot.js"),
      import("../profile/analysis.js"),
    ]);
    if (options.plot !== null) checkPlotPath(options.plot);
    const report = await runProfile(
      {
        ...execution,
        textPaths: options.text.map((path) => resolve(path)),
        profilePath: options.out === null ? null : resolve(options.out),
        contextLength: options.ctx,
        mostTokens: options.tokens,
        fresh: options.fresh,
        logLevel: options.logLevel,
      },
      { onStage: (stage) => status.show(stageText(stage)), signal },
    );
    status.end();
    if (report.profile.tokens > 0) {
      const summary = summarize(report.profile);
      process.stdout.write(options.json ? reportJson(report, summary) : reportText(report, summary));
      if (options.plot !== null)
        await writePlot(options.plot, plotSvg(report.model.name, report.profile, summary));
    }
    if (signal.aborted) throw signal.reason;
  } finally {
    status.end();
    interruption.release();
  }
}
