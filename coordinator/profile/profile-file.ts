/** Profiles as files; docs/profile.md describes the format. */
import { existsSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { ThermoclineError } from "../../proto/errors.js";
import { ACTIVATIONS } from "../model/activation.js";
import { type GgufFile, readGguf } from "../model/gguf.js";
import type { GgufValue } from "../model/gguf-metadata.js";
import { writeGguf } from "../model/gguf-writer.js";
import { readExactly } from "../model/read-exactly.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import { ActivationProfile, type ProfileSource } from "./activation-profile.js";
import type { ProfiledModel } from "./profiled-model.js";

const VERSION = 1;
const PREFIX = "thermocline.profile";

/** Tensors of a layer. */
const COUNT = "activation_count";
const STRENGTH = "activation_strength";
const COUNT_BY_SOURCE = "activation_count_by_source";

/** Where a model's profile lies. */
export function profilePath(modelPath: string): string {
  return `${modelPath.replace(/\.gguf$/, "")}.profile.gguf`;
}

/** Replaces the file, or leaves it as it was. @throws ThermoclineError when it cannot be written */
export async function writeProfile(
  path: string,
  profile: ActivationProfile,
  model: ProfiledModel,
): Promise<void> {
  const { layers, ff } = profile.shape;
  const { sources, strengths } = profile;
  const totals = profile.totals();
  const tensor = (layer: number, name: string, dims: number[], parts: readonly Float32Array[]) => ({
    name: `blk.${layer}.${name}`,
    type: WEIGHT_TYPES.f32,
    dims,
    data: Buffer.concat(
      parts.map((values) => Buffer.from(values.buffer, values.byteOffset + 4 * layer * ff, 4 * ff)),
    ),
  });
  await writeGguf(path, {
    format: "gguf",
    version: 3,
    metadata: metadataOf(profile, model),
    tensors: Array.from({ length: layers }, (_, layer) => [
      tensor(layer, COUNT, [ff], [totals]),
      tensor(layer, STRENGTH, [ff], [strengths]),
      tensor(
        layer,
        COUNT_BY_SOURCE,
        [ff, sources.length],
        sources.map(({ counts }) => counts),
      ),
    ]).flat(),
  });
}

function metadataOf({ shape, sources, tokens }: ActivationProfile, model: ProfiledModel) {
  const entries: [string, GgufValue][] = [
    ["general.name", { type: "string", value: `activation profile of ${model.name}` }],
    [`${PREFIX}.version`, { type: "uint32", value: VERSION }],
    [`${PREFIX}.tokens`, { type: "uint64", value: BigInt(tokens) }],
    [`${PREFIX}.activation`, { type: "string", value: shape.activation }],
    [`${PREFIX}.relu_threshold`, { type: "float32", value: shape.reluThreshold }],
    [`${PREFIX}.model.bytes`, { type: "uint64", value: BigInt(model.fileBytes) }],
    [`${PREFIX}.model.digest`, { type: "string", value: model.digest }],
    [`${PREFIX}.source.names`, strings(sources.map(({ name }) => name))],
    [`${PREFIX}.source.digests`, strings(sources.map(({ digest }) => digest))],
    [`${PREFIX}.source.tokens`, integers(sources.map((source) => source.tokens))],
    [`${PREFIX}.source.windows`, integers(sources.map(({ windows }) => windows))],
    [`${PREFIX}.source.context_lengths`, integers(sources.map(({ contextLength }) => contextLength))],
  ];
  return entries;
}

function strings(values: string[]): GgufValue {
  return { type: "array", of: "string", values };
}

function integers(values: number[]): GgufValue {
  return { type: "array", of: "uint32", values: Uint32Array.from(values) };
}

/**
 * @returns null when there is no such file
 * @throws ThermoclineError FAILED_PRECONDITION for the profile of another model or what is none, UNIMPLEMENTED for a
 *   later version of the format, DATA_LOSS for a damaged file
 */
export async function readProfile(path: string, model: ProfiledModel): Promise<ActivationProfile | null> {
  if (!existsSync(path)) return null;
  const file = await readGguf(path);
  checkVersion(file);
  const fields = new Fields(file);
  const bytes = fields.read((metadata) => metadata.integer(`${PREFIX}.model.bytes`));
  const digest = fields.read((metadata) => metadata.string(`${PREFIX}.model.digest`));
  if (bytes !== model.fileBytes || digest !== model.digest) {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `the profile ${path} does not belong to this model, but to another file of ${bytes} bytes; profile the model ` +
        "again (thermocline profile --fresh) or remove the file",
    );
  }
  const { layers, ff } = model.shape;
  const sources = fields.sources(layers * ff);
  const strengths = new Float32Array(layers * ff);
  const totals = new Float32Array(layers * ff);
  const handle = await open(path, "r");
  try {
    const tensors = new Tensors(file, handle);
    for (let layer = 0; layer < layers; layer++) {
      await tensors.read(`blk.${layer}.${COUNT}`, layer * ff, ff, [totals]);
      await tensors.read(`blk.${layer}.${STRENGTH}`, layer * ff, ff, [strengths]);
      const bySource = sources.map(({ counts }) => counts);
      await tensors.read(`blk.${layer}.${COUNT_BY_SOURCE}`, layer * ff, ff, bySource);
    }
  } finally {
    await handle.close();
  }
  const profile = new ActivationProfile(fields.shape(layers, ff), sources, strengths);
  checkSums(
    path,
    profile,
    totals,
    fields.read((metadata) => metadata.integer(`${PREFIX}.tokens`)),
  );
  return profile;
}

function checkVersion({ path, metadata }: GgufFile): void {
  const version = metadata.get(`${PREFIX}.version`);
  if (version?.type !== "uint32") {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `${path}: is no profile of a model's activations; remove the file, or name another one`,
    );
  }
  if (version.value === VERSION) return;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `the profile ${path} has version ${version.value} of its format, and this program reads ${VERSION}; profile the ` +
      "model again (thermocline profile --fresh) or remove the file",
  );
}

function checkSums(path: string, profile: ActivationProfile, totals: Float32Array, tokens: number): void {
  const sums = profile.totals();
  const odd = sums.findIndex((sum, neuron) => sum !== totals[neuron]);
  if (odd >= 0) {
    const { ff } = profile.shape;
    const where = `blk.${Math.floor(odd / ff)}.${COUNT}[${odd % ff}]`;
    throw damaged(path, `${where} is ${totals[odd]}, and its sources' counts add up to ${sums[odd]}`);
  }
  if (tokens === profile.tokens) return;
  throw damaged(path, `it counts ${tokens} tokens, and its sources ${profile.tokens}`);
}

function damaged(path: string, what: string): ThermoclineError {
  return new ThermoclineError(
    "DATA_LOSS",
    `the profile ${path} is damaged: ${what}; profile the model again (thermocline profile --fresh) or remove the file`,
  );
}

/** A profile's metadata. */
class Fields {
  constructor(private readonly file: GgufFile) {}

  /** What is wrong with a key is said of the profile, not of a model. */
  read<T>(get: (metadata: GgufFile["metadata"]) => T): T {
    const { path, metadata } = this.file;
    try {
      return get(metadata);
    } catch (error) {
      if (!(error instanceof ThermoclineError)) throw error;
      throw damaged(path, error.message.replace(`${path}: `, "").replace(/; convert the model again.*$/, ""));
    }
  }

  shape(layers: number, ff: number): ActivationProfile["shape"] {
    const name = this.read((metadata) => metadata.string(`${PREFIX}.activation`));
    const activation = ACTIVATIONS.find((known) => known === name);
    if (activation === undefined) throw damaged(this.file.path, "its activation is unknown");
    const reluThreshold = this.read((metadata) => metadata.number(`${PREFIX}.relu_threshold`));
    return { layers, ff, activation, reluThreshold };
  }

  /** With counts that are yet to be read. */
  sources(neurons: number): ProfileSource[] {
    const digests = this.read((metadata) => metadata.strings(`${PREFIX}.source.digests`));
    const names = this.read((metadata) => metadata.strings(`${PREFIX}.source.names`));
    const numbers = (key: string) => this.read((metadata) => metadata.numbers(`${PREFIX}.source.${key}`));
    const columns = [numbers("tokens"), numbers("windows"), numbers("context_lengths")] as const;
    if ([names, ...columns].some(({ length }) => length !== digests.length) || digests.length === 0) {
      throw damaged(this.file.path, "its sources' names, digests and numbers are not equally many");
    }
    const [tokens, windows, contextLengths] = columns;
    return digests.map((digest, index) => ({
      name: names[index] ?? "",
      digest,
      contextLength: contextLengths[index] ?? 0,
      windows: windows[index] ?? 0,
      tokens: tokens[index] ?? 0,
      counts: new Float32Array(neurons),
    }));
  }
}

/** A profile's tensors. */
class Tensors {
  constructor(
    private readonly file: GgufFile,
    private readonly handle: FileHandle,
  ) {}

  /** Reads a tensor's rows of `length` values, each into one of `targets` from `first` on. */
  async read(name: string, first: number, length: number, targets: readonly Float32Array[]): Promise<void> {
    const { path, tensors } = this.file;
    const tensor = tensors.get(name);
    if (tensor === undefined) throw damaged(path, `it has no tensor ${name}`);
    const { elements, type, offset, bytes } = tensor;
    const wanted = length * targets.length;
    if (type.name !== "F32" || elements !== wanted) {
      throw damaged(path, `${name} holds ${elements} values of type ${type.name}, not ${wanted} of type F32`);
    }
    const values = new Float32Array((await readExactly(this.handle, path, offset, bytes)).buffer);
    const odd = values.findIndex((value) => !(value >= 0 && value < Number.POSITIVE_INFINITY));
    if (odd >= 0) throw damaged(path, `${name}[${odd}] is ${values[odd]}, which is no count`);
    for (const [row, target] of targets.entries()) {
      target.set(values.subarray(row * length, (row + 1) * length), first);
    }
  }
}
