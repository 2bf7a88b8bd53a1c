/** Profiles as files. */
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { readGguf } from "../../coordinator/model/gguf.js";
import type { GgufValue } from "../../coordinator/model/gguf-metadata.js";
import { type GgufTensorSpec, writeGguf } from "../../coordinator/model/gguf-writer.js";
import type { Model } from "../../coordinator/model/model.js";
import { WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { loadProfile } from "../../coordinator/placement/profile.js";
import { profilePath, readProfile, writeProfile } from "../../coordinator/profile/profile-file.js";
import { profiledModel } from "../../coordinator/profile/profiled-model.js";
import { ThermoclineError } from "../../proto/errors.js";
import { profileOf } from "../support/profiles.js";
import { Random } from "../support/random.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
const LAYERS = 2;
const FF = 64;
let files = 0;
let model: Model;
let path: string;
beforeEach(async () => {
  model = await writeTinyModel(join(folder, `model-${files++}.gguf`), { layers: LAYERS, ff: FF });
  path = profilePath(model.path);
});

function counts(factor: number): number[] {
  return Array.from({ length: LAYERS * FF }, (_, neuron) => factor * neuron);
}

function someProfile() {
  return profileOf(model, { "a.txt": counts(1), "b.txt": counts(3), "live traffic": counts(2) });
}

async function write(): Promise<void> {
  await writeProfile(path, someProfile(), await profiledModel(model));
}

/** Writes the file again with another value, or without the key or tensor. */
async function rewrite(
  key: string,
  change: { value: GgufValue } | { data: Float32Array } | { type: "f16" } | "gone",
): Promise<void> {
  const file = await readGguf(path);
  const bytes = readFileSync(path);
  const metadata = new Map<string, GgufValue>(file.metadata);
  if (change === "gone") metadata.delete(key);
  else if ("value" in change) metadata.set(key, change.value);
  const tensors = [...file.tensors.values()].flatMap((tensor): (GgufTensorSpec & { data: Uint8Array })[] => {
    const whole = bytes.subarray(tensor.offset, tensor.offset + tensor.bytes);
    if (tensor.name !== key || (change !== "gone" && "value" in change)) return [{ ...tensor, data: whole }];
    if (change === "gone") return [];
    if ("type" in change)
      return [{ ...tensor, type: WEIGHT_TYPES.f16, data: new Uint8Array(whole.length / 2) }];
    return [{ ...tensor, dims: [change.data.length], data: new Uint8Array(change.data.buffer) }];
  });
  await writeGguf(path, { format: "gguf", version: 3, metadata, tensors });
}

test("lies beside the model under its name", () => {
  expect(profilePath("/models/a.f16.gguf")).toBe("/models/a.f16.profile.gguf");
  expect(profilePath("/models/a.gguf.pwri")).toBe("/models/a.gguf.pwri.profile.gguf");
});

test("there is none: null", async () => {
  expect(await readProfile(path, await profiledModel(model))).toBeNull();
  expect(await loadProfile(model, null)).toBeNull();
});

test("is read as it was written, and leaves nothing else behind", async () => {
  await write();
  const read = await readProfile(path, await profiledModel(model));
  expect(read).toEqual(someProfile());
  expect(read?.shape).toEqual({ layers: LAYERS, ff: FF, activation: "relu", reluThreshold: 0 });
  expect(read?.tokens).toBe(3000);
  expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
});

test("placement gets the counts of all sources together", async () => {
  await write();
  expect(await loadProfile(model, null)).toEqual({
    path,
    tokens: 3000,
    counts: [0, 1].map((layer) =>
      Float32Array.from({ length: FF }, (_, neuron) => 6 * (layer * FF + neuron)),
    ),
  });
});

describe("one named with --profile", () => {
  test("counts instead of the one beside the model", async () => {
    await write();
    const named = join(folder, `named-${files}.profile.gguf`);
    await writeProfile(named, profileOf(model, { "c.txt": counts(5) }), await profiledModel(model));
    const profile = await loadProfile(model, named);
    expect(profile?.path).toBe(named);
    expect(profile?.counts[1]?.[3]).toBe(5 * (FF + 3));
  });

  test("that is not there is refused, whatever lies beside the model", async () => {
    await write();
    await expect(loadProfile(model, join(folder, "none"))).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringMatching(/^--profile .*none: there is no such file; check the path, or make it /),
    });
  });

  test("of another model is refused", async () => {
    await write();
    const stranger = await writeTinyModel(join(folder, `unprofiled-${files}.gguf`), {
      layers: LAYERS,
      ff: 96,
    });
    await expect(loadProfile(stranger, path)).rejects.toMatchObject({
      code: "FAILED_PRECONDITION",
      message: expect.stringMatching(
        /^the profile .* does not belong to this model, but to another file of /,
      ),
    });
  });
});

test("a copy of the model knows its profile", async () => {
  await write();
  const copy = join(folder, `copy-${files}.gguf`);
  copyFileSync(model.path, copy);
  const profiled = await profiledModel({ ...model, path: copy });
  expect(await readProfile(path, profiled)).toEqual(someProfile());
});

describe("one of another model is refused with what to do", () => {
  const refusal = {
    code: "FAILED_PRECONDITION",
    message: expect.stringMatching(
      /profile\.gguf does not belong to this model, but to another file of \d+ bytes; profile the model again .* or remove/,
    ),
  };

  test.each([
    ["other weights of the same shape", { seed: 2 }],
    ["another shape", { ff: 96 }],
  ])("%s", async (_, other) => {
    await write();
    const stranger = await writeTinyModel(join(folder, `stranger-${files}.gguf`), {
      layers: LAYERS,
      ff: FF,
      ...other,
    });
    copyFileSync(path, profilePath(stranger.path));
    await expect(loadProfile(stranger, null)).rejects.toMatchObject(refusal);
  });

  test("a single weight changed where samples are taken", async () => {
    await write();
    const bytes = readFileSync(model.path);
    const last = bytes.length - 1;
    bytes[last] = (bytes[last] ?? 0) ^ 1;
    writeFileSync(model.path, bytes);
    await expect(loadProfile(model, null)).rejects.toMatchObject(refusal);
  });
});

test("what is no profile is refused", async () => {
  copyFileSync(model.path, path);
  await expect(loadProfile(model, null)).rejects.toMatchObject({
    code: "FAILED_PRECONDITION",
    message: `${path}: is no profile of a model's activations; remove the file, or name another one`,
  });
});

test("a later version is refused", async () => {
  await write();
  await rewrite("thermocline.profile.version", { value: { type: "uint32", value: 2 } });
  await expect(loadProfile(model, null)).rejects.toMatchObject({
    code: "UNIMPLEMENTED",
    message: expect.stringMatching(
      /has version 2 of its format, and this program reads 1; profile the model again/,
    ),
  });
});

describe("a damaged one is refused with what is wrong and what to do", () => {
  const strings = (...values: string[]): GgufValue => ({ type: "array", of: "string", values });
  const integers = (...values: number[]): GgufValue => ({
    type: "array",
    of: "uint32",
    values: Uint32Array.from(values),
  });
  const odd = (value: number) => Float32Array.from(counts(6).slice(FF)).fill(value, 17, 18);

  test.each<[string, Parameters<typeof rewrite>, RegExp]>([
    [
      "a key is missing",
      ["thermocline.profile.tokens", "gone"],
      /key thermocline\.profile\.tokens is missing/,
    ],
    ["no model", ["thermocline.profile.model.digest", "gone"], /model\.digest is missing/],
    [
      "an unknown activation",
      ["thermocline.profile.activation", { value: { type: "string", value: "gelu" } }],
      /its activation is unknown/,
    ],
    [
      "a key of another type",
      ["thermocline.profile.source.names", { value: integers(1) }],
      /source\.names holds/,
    ],
    [
      "fewer sources",
      ["thermocline.profile.source.digests", { value: strings("a", "b") }],
      /not equally many/,
    ],
    ["no sources", ["thermocline.profile.source.digests", { value: strings() }], /not equally many/],
    [
      "other tokens",
      ["thermocline.profile.tokens", { value: { type: "uint64", value: 2999n } }],
      /it counts 2999 tokens, and its sources 3000/,
    ],
    ["too few layers", ["blk.1.activation_count", "gone"], /it has no tensor blk\.1\.activation_count/],
    ["no strengths", ["blk.0.activation_strength", "gone"], /it has no tensor blk\.0\.activation_strength/],
    [
      "other numbers of neurons",
      ["blk.1.activation_count", { data: new Float32Array(32) }],
      /blk\.1\.activation_count holds 32 values of type F32, not 64 of type F32/,
    ],
    [
      "other types",
      ["blk.0.activation_count", { type: "f16" }],
      /blk\.0\.activation_count holds 64 values of type F16, not 64 of type F32/,
    ],
    ...[Number.NaN, Number.POSITIVE_INFINITY, -1].map(
      (value): [string, Parameters<typeof rewrite>, RegExp] => [
        `a count of ${value}`,
        ["blk.1.activation_count", { data: odd(value) }],
        new RegExp(`blk\\.1\\.activation_count\\[17\\] is ${value}, which is no count`),
      ],
    ),
    [
      "a count that its sources do not add up to",
      ["blk.1.activation_count", { data: odd(5) }],
      /blk\.1\.activation_count\[17\] is 5, and its sources' counts add up to 486/,
    ],
  ])("%s", async (_, change, what) => {
    await write();
    await rewrite(...change);
    await expect(loadProfile(model, null)).rejects.toMatchObject({
      code: "DATA_LOSS",
      message: expect.stringMatching(
        new RegExp(
          `profile\\.gguf is damaged: .*${what.source}.*; profile the model again .*--fresh.* or remove the file$`,
        ),
      ),
    });
  });
});

test("whatever bytes are changed, it is read as counts or refused in a sentence", async () => {
  await write();
  const bytes = readFileSync(path);
  const { dataOffset } = await readGguf(path);
  const profiled = await profiledModel(model);
  const random = new Random(5);
  let refused = 0;
  for (let mutation = 0; mutation < 300; mutation++) {
    const mutant = Buffer.from(bytes);
    // Headers are most of what can be wrong.
    const at = random.integer(mutation % 3 === 0 ? bytes.length : dataOffset);
    mutant[at] = random.integer(256);
    const length = mutation % 10 === 0 ? at : mutant.length;
    writeFileSync(path, mutant.subarray(0, length));
    const outcome = await readProfile(path, profiled).catch((error: Error) => error);
    if (outcome instanceof Error) {
      expect(outcome).toBeInstanceOf(ThermoclineError);
      expect(outcome.message).toContain(path);
      refused++;
    } else expect(outcome?.totals().every((count) => count >= 0)).toBe(true);
  }
  expect(refused).toBeGreaterThan(100);
});
