/** `thermocline quantize`: a model file is written again with its weights in another type. */
import { Command, Option } from "commander";
import type { WeightType } from "../../native/index.js";
import { formatBytes } from "../../proto/units.js";
import { requantize } from "../model/requantize.js";
import { STORED_TYPES } from "../model/stored-type.js";
import { carryProfile } from "../profile/carry-profile.js";
import { writeModelFile } from "./file-command.js";

interface Options {
  type: WeightType;
  predictorType?: WeightType;
  force?: true;
}

export function quantizeCommand(): Command {
  return new Command("quantize")
    .description("Writes a GGUF or PWRI file again with its weights in another type.")
    .argument("<in>", "the model file to read")
    .argument("<out>", "the model file to write")
    .addOption(
      new Option("--type <type>", "how weight matrices are stored, token embedding and output included")
        .choices(STORED_TYPES)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option(
        "--predictor-type <type>",
        "how activation predictors are stored (default: as --type)",
      ).choices(STORED_TYPES),
    )
    .option("--force", "replaces the file if it exists")
    .addHelpText(
      "after",
      `
Vectors stay F32. Where a matrix's rows are no whole blocks of the type (256 elements of q4_k, q5_k and q6_k, 32 of
q8_0 and q4_0), the matrix is stored as q8_0, or as f16 where that does not fit either, and a line says so.
The profile beside IN, if there is one, is written beside OUT as well: its neurons are the same.

Examples:
  thermocline quantize model.f16.gguf model.q4_k.gguf --type q4_k
  thermocline quantize model.powerinfer.gguf smaller.gguf --type q4_0 --predictor-type q8_0`,
    )
    .action(quantize);
}

async function quantize(path: string, out: string, options: Options): Promise<void> {
  const { type, predictorType = type, force } = options;
  await writeModelFile("quantizing", async (watch) => {
    const { sourceBytes, fileBytes, substitutions } = await requantize(path, out, {
      types: { matrices: type, predictors: predictorType },
      replace: force === true,
      ...watch,
    });
    const predictors = predictorType === type ? "" : `, predictors as ${predictorType}`;
    const note = await carryProfile(path, out, { replace: force === true });
    return {
      summary: `wrote ${out}: ${formatBytes(fileBytes)} as ${type}${predictors}, from ${formatBytes(sourceBytes)}`,
      substitutions,
      notes: note === null ? [] : [note],
    };
  });
}
