/** A placement as a file: what `plan --save` writes and `--placement` follows. */
import { writeFileSync } from "node:fs";
import { z } from "zod";
import type { Schedule } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { formatBytes } from "../../proto/units.js";
import type { Model } from "../model/model.js";
import { totalBytes } from "./footprint.js";
import { neuronsPerBlock } from "./heat.js";
import { modelDigest } from "./identity.js";
import { readPlacementJson } from "./placement-json.js";
import { needsOf, type PlacementExecutor } from "./schedule.js";
import type { ServingSizes } from "./sizes.js";

const FORMAT = "thermocline-placement-1";

const schema = z.strictObject({
  format: z.literal(FORMAT),
  /** For people. */
  model: z.string(),
  /** {@link modelDigest}. */
  digest: z.string(),
  head: z.enum(["gpu", "cpu"]),
  layers: z.array(
    z.strictObject({
      owner: z.enum(["gpu", "cpu"]),
      /** A bit a neuron, lowest first, in Base64: set where the GPU executor computes it. */
      hot: z.base64(),
    }),
  ),
});

/** @param schedule one in which a GPU executor takes part */
export function writePlacement(path: string, model: Model, schedule: Schedule): void {
  const gpu = schedule.executors.indexOf("gpu");
  const sideOf = (executor: number) => (executor === gpu ? "gpu" : "cpu");
  const file: z.infer<typeof schema> = {
    format: FORMAT,
    model: model.name,
    digest: modelDigest(model),
    head: sideOf(schedule.head),
    layers: schedule.layers.map(({ attention, neuronOwner }) => ({
      owner: sideOf(attention),
      hot: bitsOf(neuronOwner.map((owner) => (owner === gpu ? 1 : 0))),
    })),
  };
  try {
    writeFileSync(path, `${JSON.stringify(file)}\n`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ThermoclineError("FAILED_PRECONDITION", `--save ${path}: ${why}; give another path`);
  }
}

/**
 * The schedule a file asks for, on these executors.
 *
 * @throws ThermoclineError INVALID_ARGUMENT (no placement file), FAILED_PRECONDITION (for another model, or other
 *   executors), RESOURCE_EXHAUSTED (the budget does not hold it)
 */
export async function readPlacement(
  path: string,
  model: Model,
  executors: readonly PlacementExecutor[],
  sizes: ServingSizes,
): Promise<Schedule> {
  const file = await readPlacementJson(path, schema, "placement file");
  if (file === null) {
    throw new ThermoclineError(
      "INVALID_ARGUMENT",
      `--placement ${path}: there is no such file; check the path`,
    );
  }
  const refuse = (why: string) =>
    new ThermoclineError("FAILED_PRECONDITION", `the placement file ${path} ${why}; plan again with --save`);
  if (file.digest !== modelDigest(model)) {
    throw refuse(
      `was made for another model (${file.model}), or for other --activation or --predictor options`,
    );
  }
  const { layers, ff } = model.shape;
  if (file.layers.length !== layers)
    throw refuse(`has ${file.layers.length} layers where the model has ${layers}`);
  const gpu = executors.findIndex(({ kind }) => kind === "gpu");
  const cpus = executors.flatMap(({ kind }, index) => (kind === "cpu" ? [index] : []));
  const [first] = cpus;
  if (gpu < 0) throw refuse("needs a GPU executor, and there is none");
  if (first === undefined) throw refuse("needs a CPU executor, and there is none");
  const block = neuronsPerBlock(model);
  const schedule: Schedule = {
    executors: executors.map(({ kind }) => kind),
    layers: file.layers.map(({ owner, hot }, layer) => {
      const bits = Buffer.from(hot, "base64");
      if (bits.length !== Math.ceil(ff / 8)) {
        throw refuse(
          `has ${bits.length} bytes of neurons in layer ${layer} where ${Math.ceil(ff / 8)} belong`,
        );
      }
      const neuronOwner = Uint8Array.from({ length: ff }, (_, neuron) =>
        ((bits[neuron >> 3] ?? 0) >> (neuron & 7)) & 1
          ? gpu
          : (cpus[Math.floor(neuron / block) % cpus.length] ?? first),
      );
      return { attention: owner === "gpu" ? gpu : first, neuronOwner };
    }),
    head: file.head === "gpu" ? gpu : first,
  };
  const executor = executors[gpu];
  if (executor === undefined) return schedule;
  const { budgetBytes } = executor;
  const bytes = totalBytes(needsOf(model, schedule, gpu, executor, sizes));
  if (budgetBytes === 0 || bytes <= budgetBytes) return schedule;
  throw new ThermoclineError(
    "RESOURCE_EXHAUSTED",
    `the placement file ${path} takes ${formatBytes(bytes)} of the GPU executor's memory, whose budget is ` +
      `${formatBytes(budgetBytes)}; raise --vram-budget, lower --ctx or --slots, or plan again with --save`,
  );
}

function bitsOf(flags: Uint8Array): string {
  const bits = Buffer.alloc(Math.ceil(flags.length / 8));
  for (const [index, flag] of flags.entries()) {
    if (flag === 1) bits[index >> 3] = (bits[index >> 3] ?? 0) | (1 << (index & 7));
  }
  return bits.toString("base64");
}
