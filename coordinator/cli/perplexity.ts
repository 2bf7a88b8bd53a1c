/** `thermocline perplexity`: how well a model predicts a text, by which every loss of accuracy is stated. */
import { resolve } from "node:path";
import { Command } from "commander";
import { z } from "zod";
import { LEAST_CONTEXT } from "../perplexity/scored-tokens.js";
import { logLevelOption } from "./log-level.js";
import { parseOptions, whole } from "./option-values.js";
import { reportJson, reportText, stageText } from "./perplexity-output.js";
import { addExecutionOptions, EXECUTION_SCHEMA, executionOptions } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";
import { StatusLine } from "./status-line.js";

export function perplexityCommand(): Command {
  const command = new Command("perplexity")
    .description("Measures how well a model predicts a text: the lower its perplexity, the better.")
    .requiredOption("--text <file>", "the text, in UTF-8")
    .option("--ctx <n>", "tokens of a window (default: 512, or the model's context if that is less)")
    .option("--chunks <n>", "reads the first n windows only (default: all)")
    .option("--json", "prints JSON");
  return addExecutionOptions(command)
    .addOption(logLevelOption("warn"))
    .addHelpText(
      "after",
      `
The method is that of llama.cpp's llama-perplexity with its default options: the text's tokens are cut into windows of
--ctx tokens, each is read alone behind a beginning-of-sequence token, and the tokens of its second half are scored.
The perplexity is the exponential of their mean negative log-likelihood. Its standard error comes from the tokens'
variance by the delta method. Ctrl-C ends it with what the windows read by then gave.

Examples:
  thermocline perplexity --model model.gguf --text wiki.test.raw
  thermocline perplexity --model model.gguf --text wiki.test.raw --predictor off --chunks 20 --json`,
    )
    .action(async (raw: unknown) => perplexity(parseOptions(schema, raw)));
}

const schema = z.object({
  ...EXECUTION_SCHEMA,
  text: z.string().min(1, "--text is empty; give the path of a text file"),
  ctx: whole("--ctx", LEAST_CONTEXT, 2 ** 20)
    .nullable()
    .default(null),
  chunks: whole("--chunks", 1, 2 ** 30)
    .nullable()
    .default(null),
  json: z.boolean().default(false),
  logLevel: z.string(),
});

async function perplexity(options: z.infer<typeof schema>): Promise<void> {
  const execution = executionOptions(options);
  const status = new StatusLine();
  const interruption = onceInterrupted();
  const { signal } = interruption;
  try {
    // Most of the program, which other commands start without.
    const { runPerplexity } = await import("../perplexity/run.js");
    const report = await runPerplexity(
      {
        ...execution,
        textPath: resolve(options.text),
        contextLength: options.ctx,
        chunks: options.chunks,
        logLevel: options.logLevel,
      },
      { onStage: (stage) => status.show(stageText(stage)), signal },
    );
    status.end();
    const { estimate } = report;
    if (estimate !== null) {
      process.stdout.write(options.json ? reportJson(report, estimate) : reportText(report, estimate));
    }
    if (signal.aborted) throw signal.reason;
  } finally {
    status.end();
    interruption.release();
  }
}
