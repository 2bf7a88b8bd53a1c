/**
 * What training keeps beside its output, in `OUT.train/`, so that it can go on after an interruption:
 *
 * - `collection.json`: of what the activations are, and how many windows have been read ({@link Collection})
 * - `layer-N.training.rows`, `layer-N.calibration.rows`, `layer-N.test.rows`: records of [embd] float32 inputs and the
 *   fired bits in whole 64-bit words, as `native/train/activation_rows.h` reads them
 * - `layer-N.KIND-RANK.json`, `.weights`: predictors that were made and measured, with fc1 and fc2 one behind the other
 * - `layer-N.checkpoint`: the training at work
 * - `model.gguf`: the model with its predictors, until it has been measured
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { FittedPredictor } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { Candidate } from "./rank-search.js";

/** By window: tokens of one text depend on each other. */
export const ROW_SETS = ["training", "calibration", "test"] as const;
export type RowSet = (typeof ROW_SETS)[number];

const ROWS_END = ".rows";

export interface Collection {
  /** A hash of model, windows and layers: activations of others are of no use. */
  identity: string;
  /** To read in all. */
  windows: number;
  windowsDone: number;
}

export class WorkFolder {
  constructor(readonly path: string) {}

  /** What it has of an earlier run: for how many windows that was, null if there was none; bytes of activations. */
  async held(): Promise<{ windows: number | null; bytes: number }> {
    if (!existsSync(this.collectionPath)) return { windows: null, bytes: 0 };
    const { windows } = await this.readJson<Collection>(this.collectionPath);
    let bytes = 0;
    for (const name of await readdir(this.path)) {
      if (name.endsWith(ROWS_END)) bytes += (await stat(join(this.path, name))).size;
    }
    return { windows, bytes };
  }

  /**
   * @throws ThermoclineError FAILED_PRECONDITION when it holds activations of something else, DATA_LOSS when it is
   *   damaged
   */
  async open(identity: string, windows: number): Promise<Collection> {
    await mkdir(this.path, { recursive: true });
    if (!existsSync(this.collectionPath)) return { identity, windows, windowsDone: 0 };
    const known = await this.readJson<Collection>(this.collectionPath);
    if (known.identity === identity) return known;
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `${this.path}: holds the activations of another model, text or choice of --tokens and --layers; remove the ` +
        "folder, or give another --out",
    );
  }

  async writeCollection(collection: Collection): Promise<void> {
    await this.replace(this.collectionPath, JSON.stringify(collection));
  }

  rowsPath(layer: number, set: RowSet): string {
    return join(this.path, `layer-${layer}.${set}${ROWS_END}`);
  }

  /** Where the model with its predictors is until it has been measured. */
  get modelPath(): string {
    return join(this.path, "model.gguf");
  }

  checkpointPath(layer: number): string {
    return join(this.path, `layer-${layer}.checkpoint`);
  }

  /** @param identity of the options it was made with; one made with others counts as missing */
  async readFitted(layer: number, candidate: Candidate, identity: string): Promise<FittedPredictor | null> {
    const path = this.fittedPath(layer, candidate);
    if (!existsSync(`${path}.json`)) return null;
    const { fc1Bytes, ...known } = await this.readJson<FittedRecord>(`${path}.json`);
    if (known.identity !== identity) return null;
    const { buffer, byteOffset, byteLength } = await readFile(`${path}.weights`);
    const weights = new Uint8Array(buffer.slice(byteOffset, byteOffset + byteLength) as ArrayBuffer);
    const { calibration, test, loss } = known;
    return { calibration, test, loss, fc1: weights.subarray(0, fc1Bytes), fc2: weights.subarray(fc1Bytes) };
  }

  async writeFitted(
    layer: number,
    candidate: Candidate,
    identity: string,
    fitted: FittedPredictor,
  ): Promise<void> {
    const path = this.fittedPath(layer, candidate);
    const { fc1, fc2, ...figures } = fitted;
    // Of other options, it must not be left beside these weights.
    await rm(`${path}.json`, { force: true });
    await writeFile(`${path}.weights`, Buffer.concat([fc1, fc2]));
    const record: FittedRecord = { identity, fc1Bytes: fc1.length, ...figures };
    await this.replace(`${path}.json`, JSON.stringify(record));
  }

  async remove(): Promise<void> {
    await rm(this.path, { recursive: true, force: true });
  }

  private get collectionPath(): string {
    return join(this.path, "collection.json");
  }

  private fittedPath(layer: number, { kind, rank }: Candidate): string {
    return join(this.path, `layer-${layer}.${kind}-${rank}`);
  }

  private async readJson<T>(path: string): Promise<T> {
    try {
      return JSON.parse(await readFile(path, "utf8")) as T;
    } catch (error) {
      throw new ThermoclineError("DATA_LOSS", `${path}: is damaged; remove the folder ${this.path}`, {
        cause: error,
      });
    }
  }

  private async replace(path: string, text: string): Promise<void> {
    await writeFile(`${path}.part`, text);
    await rename(`${path}.part`, path);
  }
}

type FittedRecord = Omit<FittedPredictor, "fc1" | "fc2"> & { identity: string; fc1Bytes: number };

/** A hash that tells apart what differs anywhere. */
export function identityOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value)).digest("hex");
}
