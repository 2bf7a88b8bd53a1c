/** `thermocline convert`: a Hugging Face model folder becomes a GGUF file. */
import { Command, InvalidArgumentError, Option } from "commander";
import type { WeightType } from "../../native/index.js";
import { formatBytes } from "../../proto/units.js";
import { convertFolder, TEXT_KEYS } from "../model/convert/convert.js";
import { STORED_TYPES } from "../model/stored-type.js";
import { writeModelFile } from "./file-command.js";

interface Options {
  out: string;
  type: WeightType;
  force?: true;
  metadata: Map<string, string>;
}

export function convertCommand(): Command {
  return new Command("convert")
    .description(
      "Converts a Hugging Face folder of the LLaMA family (config.json, safetensors, tokenizer) to GGUF.",
    )
    .argument("<folder>", "the model's folder")
    .requiredOption("--out <file>", "the GGUF file to write")
    .addOption(
      new Option("--type <type>", "how weight matrices are stored, token embedding and output included")
        .choices(STORED_TYPES)
        .default("f16"),
    )
    .option("--force", "replaces the file if it exists")
    .option(
      "--metadata <key=text>",
      "says something about the model, such as general.license=apache-2.0; may be repeated",
      collectMetadata,
      new Map<string, string>(),
    )
    .addHelpText(
      "after",
      `
Vectors stay F32. Matrices whose rows are no whole blocks of the type are stored as q8_0 or f16, and a line says so.

Example:
  thermocline convert ./my-model --out my-model.gguf --type q8_0`,
    )
    .action(convert);
}

function collectMetadata(text: string, collected: Map<string, string>): Map<string, string> {
  const [key = "", ...rest] = text.split("=");
  const value = rest.join("=");
  if (!TEXT_KEYS.includes(key) || value === "") {
    throw new InvalidArgumentError(`give KEY=TEXT with one of the keys ${TEXT_KEYS.join(", ")}`);
  }
  return new Map(collected).set(key, value);
}

async function convert(folder: string, { out, type, force, metadata }: Options): Promise<void> {
  await writeModelFile("converting", async (watch) => {
    const { fileBytes, substitutions } = await convertFolder(folder, out, {
      type,
      replace: force === true,
      metadata,
      ...watch,
    });
    return { summary: `wrote ${out}: ${formatBytes(fileBytes)} as ${type}`, substitutions, notes: [] };
  });
}
