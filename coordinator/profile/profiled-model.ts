/** A model as its profile knows it: by a digest that tells it from others of the same shape. */
import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import type { ModelShape } from "../../native/index.js";
import type { Model } from "../model/model.js";
import { readExactly } from "../model/read-exactly.js";

export interface ProfiledModel {
  name: string;
  shape: ModelShape;
  fileBytes: number;
  /** SHA-256, hexadecimal, of the file's header and of samples of its weights. */
  digest: string;
}

/** Samples of weights: few enough for a slow disk, and two models that differ in training differ in all of them. */
const SAMPLES = 16;
const SAMPLE_BYTES = 4096;

/** @throws ThermoclineError DATA_LOSS when the file has become shorter */
export async function profiledModel({ path, name, shape, fileBytes, file }: Model): Promise<ProfiledModel> {
  const hash = createHash("sha256");
  const handle = await open(path, "r");
  try {
    for (const { offset, bytes } of pieces(file.dataOffset, fileBytes)) {
      hash.update(await readExactly(handle, path, offset, bytes));
    }
  } finally {
    await handle.close();
  }
  return { name, shape, fileBytes, digest: hash.digest("hex") };
}

/** The header, then samples from one end of the weights to the other. */
function pieces(dataOffset: number, fileBytes: number): { offset: number; bytes: number }[] {
  const header = { offset: 0, bytes: dataOffset };
  const room = fileBytes - dataOffset - SAMPLE_BYTES;
  if (room <= 0) return [{ offset: 0, bytes: fileBytes }];
  const samples = Array.from({ length: SAMPLES }, (_, sample) => ({
    offset: dataOffset + Math.floor((room * sample) / (SAMPLES - 1)),
    bytes: SAMPLE_BYTES,
  }));
  return [header, ...samples];
}
