/** Activation profiles beside a model. */
import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { writeGguf } from "../../coordinator/model/gguf-writer.js";
import type { Model } from "../../coordinator/model/model.js";
import { WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { loadProfile, profilePath } from "../../coordinator/placement/profile.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { writeTinyModel } from "../support/tiny-model.js";

const folder = temporaryFolder();
let files = 0;
let model: Model;
beforeEach(async () => {
  model = await writeTinyModel(join(folder, `model-${files++}.gguf`), { layers: 2, ff: 64 });
});

function counts(layer: number): Float32Array {
  return Float32Array.from({ length: 64 }, (_, neuron) => 1000 * layer + neuron);
}

/** Writes a profile of `layers`, one array of counts a layer, beside the model. */
async function writeProfile(layers: readonly Float32Array[], type: "f32" | "f16" = "f32"): Promise<void> {
  await writeGguf(profilePath(model.path), {
    format: "gguf",
    version: 3,
    metadata: [["thermocline.profile.tokens", { type: "uint32", value: 4321 }]],
    tensors: layers.map((values, layer) => ({
      name: `blk.${layer}.activation_count`,
      type: WEIGHT_TYPES[type],
      dims: [values.length],
      data: type === "f32" ? new Uint8Array(values.buffer) : new Uint8Array(values.length * 2),
    })),
  });
}

test("lies beside the model under its name", () => {
  expect(profilePath("/models/a.f16.gguf")).toBe("/models/a.f16.profile.gguf");
  expect(profilePath("/models/a.gguf.pwri")).toBe("/models/a.gguf.pwri.profile.gguf");
});

test("there is none: null", async () => {
  expect(await loadProfile(model.path, model.shape)).toBeNull();
});

test("is read as it was written", async () => {
  await writeProfile([counts(0), counts(1)]);
  expect(await loadProfile(model.path, model.shape)).toEqual({
    path: profilePath(model.path),
    tokens: 4321,
    counts: [counts(0), counts(1)],
  });
});

describe("one that does not belong to the model is an error that names it and says what to do", () => {
  const refusal = (what: RegExp) => ({
    code: "FAILED_PRECONDITION",
    message: expect.stringMatching(
      new RegExp(
        `profile\\.gguf does not belong to this model: ${what.source}; profile the model again or remove`,
      ),
    ),
  });

  test("too few layers", async () => {
    await writeProfile([counts(0)]);
    await expect(loadProfile(model.path, model.shape)).rejects.toMatchObject(
      refusal(/it has no tensor blk\.1\.activation_count/),
    );
  });

  test("other numbers of neurons", async () => {
    await writeProfile([counts(0), counts(1).slice(0, 32)]);
    await expect(loadProfile(model.path, model.shape)).rejects.toMatchObject(
      refusal(/blk\.1\.activation_count holds 32 values of type F32, not 64 of type F32/),
    );
  });

  test("other types", async () => {
    await writeProfile([counts(0), counts(1)], "f16");
    await expect(loadProfile(model.path, model.shape)).rejects.toMatchObject(
      refusal(/blk\.0\.activation_count holds 64 values of type F16, not 64 of type F32/),
    );
  });

  test.each([Number.NaN, Number.POSITIVE_INFINITY, -1])("a count of %d", async (count) => {
    const wrong = counts(1);
    wrong[17] = count;
    await writeProfile([counts(0), wrong]);
    await expect(loadProfile(model.path, model.shape)).rejects.toMatchObject(
      refusal(new RegExp(`blk\\.1\\.activation_count\\[17\\] is ${count}, which is no count`)),
    );
  });

  test("a file that is no profile at all", async () => {
    copyFileSync(model.path, profilePath(model.path));
    await expect(loadProfile(model.path, model.shape)).rejects.toMatchObject(
      refusal(/it has no tensor blk\.0\.activation_count/),
    );
  });
});
