/** `thermocline train-predictor`: activation predictors for a model nobody trained any for. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { Command, Option } from "commander";
import { z } from "zod";
import { parseBytes } from "../../proto/units.js";
import { bundledModelPath } from "../model/bundled.js";
import { STORED_TYPES } from "../model/stored-type.js";
import type { TrainStage } from "../predictors/train.js";
import { logLevelOption } from "./log-level.js";
import { decimal, parseOptions, whole } from "./option-values.js";
import { addModelOptions, MODEL_SCHEMA } from "./serving-options.js";
import { onceInterrupted } from "./signals.js";
import { StatusLine } from "./status-line.js";
import { reportJson, reportText, stageText } from "./train-predictor-output.js";

export function trainPredictorCommand(): Command {
  const command = new Command("train-predictor").description(
    "Trains activation predictors for a ReLU model and writes the model with them.",
  );
  return addModelOptions(command)
    .requiredOption("--text <file...>", "texts to train on, in UTF-8; a tenth is kept for the figures")
    .requiredOption("--out <file>", "the model file to write")
    .option("--eval-text <file>", "a text to measure perplexity on (default: what was kept of --text)")
    .option("--recall <share>", "of the neurons that fire, those to be found", "0.95")
    .option("--tokens <n>", "tokens to read (default: as --disk allows, at most 131072)")
    .option("--disk <size>", "most room for activations, in OUT.train beside the output", "16GiB")
    .addOption(new Option("--type <type>", "how predictors are stored").choices(STORED_TYPES).default("q8_0"))
    .option("--max-rank <n>", "most hidden units of a predictor", "1024")
    .option("--layers <a-b>", "trains these layers only, from 0; the others compute every gate")
    .option("--epochs <n>", "times each row is trained on (default: 3 to 30, for a million rows in all)")
    .option("--seed <n>", "of what is random", "0")
    .option("--threads <n>", "threads (default: one a core)")
    .option("--keep-work", "keeps OUT.train, such as to train again with another --recall")
    .option("--force", "replaces the file if it exists")
    .option("--json", "prints JSON, with all predictors that were measured")
    .addOption(logLevelOption("warn"))
    .addHelpText(
      "after",
      `
A layer gets the predictor with which a token reads the fewest bytes, itself included, while it finds --recall of the
neurons that fire: one made of the gate matrix alone, or a trained one, of whatever rank that takes; or none, where
computing every gate is cheaper. Predictors that the model has are replaced. What --activation and --relu-threshold say
is written into the file. Ctrl-C keeps what is done, and the same command goes on from there.

Examples:
  thermocline train-predictor --model model.gguf --text wiki.train.raw --out model.predictor.gguf
  thermocline train-predictor --model model.gguf --text a.txt b.txt --out out.gguf --recall 0.98 --tokens 32768`,
    )
    .action(async (raw: unknown) => trainPredictor(parseOptions(schema, raw)));
}

const schema = z.object({
  ...MODEL_SCHEMA,
  text: z.array(z.string().min(1, "--text is empty; give the path of a text file")),
  out: z.string().min(1, "--out is empty; give the path of the file to write"),
  evalText: z.string().nullable().default(null),
  recall: decimal("--recall", 0, 1, false),
  tokens: whole("--tokens", 1, 2 ** 40)
    .nullable()
    .default(null),
  disk: z.string(),
  type: z.enum(["f32", "f16", "q8_0", "q4_0", "bf16", "q4_k", "q5_k", "q6_k"]),
  maxRank: whole("--max-rank", 16, 65536),
  layers: z
    .string()
    .transform((text, context) => {
      const [, first, last] = /^(\d{1,6})(?:-(\d{1,6}))?$/.exec(text) ?? [];
      if (first !== undefined) return { first: Number(first), last: Number(last ?? first) };
      context.addIssue(`--layers is "${text}"; give a layer or a range, such as 4-7`);
      return z.NEVER;
    })
    .nullable()
    .default(null),
  epochs: whole("--epochs", 1, 10000).nullable().default(null),
  seed: whole("--seed", 0, 2 ** 32 - 1),
  threads: whole("--threads", 1, 1024).nullable().default(null),
  keepWork: z.boolean().default(false),
  force: z.boolean().default(false),
  json: z.boolean().default(false),
  logLevel: z.string(),
});

async function trainPredictor(options: z.infer<typeof schema>): Promise<void> {
  const status = new StatusLine();
  const interruption = onceInterrupted();
  const { activation, reluThreshold, recall, tokens, type, layers, epochs, seed, threads } = options;
  const out = resolve(options.out);
  const onStage = (stage: TrainStage) => {
    if (stage.kind === "starting" || stage.kind === "resuming") status.note(stageText(stage));
    else status.show(stageText(stage));
  };
  try {
    // Most of the program, which other commands start without.
    const { trainPredictors } = await import("../predictors/train.js");
    const report = await trainPredictors(
      {
        modelPath: options.model ?? bundledModelPath(),
        textPaths: options.text.map((path) => resolve(path)),
        evalTextPath: options.evalText === null ? null : resolve(options.evalText),
        out,
        replace: options.force,
        diskBytes: parseBytes(options.disk, "--disk"),
        mostRank: options.maxRank,
        ...{ activation, reluThreshold, recall, tokens, type, layers, epochs, seed, threads },
        keepWork: options.keepWork,
        logLevel: options.logLevel,
      },
      { onStage, signal: interruption.signal },
    );
    status.end();
    process.stdout.write(options.json ? reportJson(report) : reportText(report));
  } catch (error) {
    status.end();
    if (interruption.signal.aborted && existsSync(`${out}.train`)) {
      process.stderr.write(`what was done is in ${out}.train; the same command goes on from there\n`);
    }
    throw error;
  } finally {
    status.end();
    interruption.release();
  }
}
