/** Reads windows with a model and keeps what its layers' predictors would have seen, and which neurons fired. */
import { type FileHandle, open } from "node:fs/promises";
import type { StepRow } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { ObservedSteps } from "../executors/group.js";
import type { StepRunner } from "../schedule/step.js";
import { recordBytes, rowSetOf } from "./row-sets.js";
import { type Collection, ROW_SETS, type WorkFolder } from "./work-folder.js";

/** Runs steps and lets what they left be read. */
export type ObservedRunner = Pick<StepRunner, "run" | "limits"> & {
  observed<T>(read: (steps: ObservedSteps) => T): T | null;
};

export interface CollectOptions {
  windows: readonly (readonly number[])[];
  layers: readonly number[];
  shape: { embd: number; ff: number };
  folder: WorkFolder;
  collection: Collection;
  onProgress: (windowsDone: number) => void;
  signal: AbortSignal;
}

/** A note of how far it came costs little and is not worth more than some windows. */
const WINDOWS_PER_NOTE = 8;

/** Goes on where it was interrupted. */
export async function collect(runner: ObservedRunner, options: CollectOptions): Promise<void> {
  const { windows, layers, shape, folder, collection, onProgress, signal } = options;
  await cutRows(options);
  const files = await RowFiles.open(folder, layers);
  try {
    for (let window = collection.windowsDone; window < windows.length; window++) {
      const set = ROW_SETS.indexOf(rowSetOf(window, windows.length));
      await readWindow(runner, windows[window] ?? [], layers, shape, (layer, records) =>
        files.append(layer, set, records),
      );
      signal.throwIfAborted();
      collection.windowsDone = window + 1;
      if (collection.windowsDone % WINDOWS_PER_NOTE === 0) await folder.writeCollection(collection);
      onProgress(collection.windowsDone);
    }
    await folder.writeCollection(collection);
  } catch (error) {
    if (signal.aborted) await folder.writeCollection(collection);
    throw error;
  } finally {
    await files.close();
  }
}

/**
 * Cuts off rows of windows that the note does not count as read.
 *
 * @throws ThermoclineError DATA_LOSS when there are fewer than it counts
 */
export async function cutRows({
  windows,
  layers,
  shape,
  folder,
  collection,
}: Pick<CollectOptions, "windows" | "layers" | "shape" | "folder" | "collection">): Promise<void> {
  const done = windows.slice(0, collection.windowsDone);
  const files = await RowFiles.open(folder, layers);
  try {
    for (const [index, set] of ROW_SETS.entries()) {
      const rows = done
        .filter((_, window) => rowSetOf(window, windows.length) === set)
        .reduce((sum, window) => sum + window.length, 0);
      if (await files.cut(index, rows * recordBytes(shape))) continue;
      throw new ThermoclineError(
        "DATA_LOSS",
        `${folder.path}: activations are missing that were collected; remove the folder to collect them again`,
      );
    }
  } finally {
    await files.close();
  }
}

async function readWindow(
  runner: ObservedRunner,
  window: readonly number[],
  layers: readonly number[],
  shape: { embd: number; ff: number },
  keep: (index: number, records: Uint8Array) => Promise<void>,
): Promise<void> {
  const rows = window.map((token, position): StepRow => ({ token, position, slot: 0, wantsLogits: false }));
  for (let first = 0; first < rows.length; first += runner.limits.maxRows) {
    const step = rows.slice(first, first + runner.limits.maxRows);
    await runner.run(step, true);
    for (const [index, layer] of layers.entries()) {
      const records = runner.observed((steps) => recordsOf(steps, layer, step.length, shape));
      if (records === null) {
        throw new ThermoclineError(
          "UNAVAILABLE",
          "an executor was lost while activations were collected; call again",
        );
      }
      await keep(index, records);
    }
  }
}

/** Each row's inputs and fired bits side by side. */
function recordsOf(
  steps: ObservedSteps,
  layer: number,
  rows: number,
  shape: { embd: number; ff: number },
): Uint8Array {
  const { inputs, fired } = steps.activations(layer);
  const values = new Uint8Array(inputs.buffer, inputs.byteOffset, inputs.byteLength);
  const record = recordBytes(shape);
  const inputBytes = shape.embd * 4;
  const firedBytes = record - inputBytes;
  const records = new Uint8Array(rows * record);
  for (let row = 0; row < rows; row++) {
    records.set(values.subarray(row * inputBytes, (row + 1) * inputBytes), row * record);
    records.set(fired.subarray(row * firedBytes, (row + 1) * firedBytes), row * record + inputBytes);
  }
  return records;
}

class RowFiles {
  private constructor(private readonly handles: FileHandle[][]) {}

  static async open(folder: WorkFolder, layers: readonly number[]): Promise<RowFiles> {
    const files = new RowFiles([]);
    try {
      for (const layer of layers) {
        const handles: FileHandle[] = [];
        files.handles.push(handles);
        for (const set of ROW_SETS) handles.push(await open(folder.rowsPath(layer, set), "a"));
      }
      return files;
    } catch (error) {
      await files.close();
      throw error;
    }
  }

  /** Shortens each layer's file. @returns false when one is shorter */
  async cut(set: number, bytes: number): Promise<boolean> {
    for (const handles of this.handles) {
      const handle = handles[set];
      if (handle === undefined || (await handle.stat()).size < bytes) return false;
      await handle.truncate(bytes);
    }
    return true;
  }

  async append(layer: number, set: number, records: Uint8Array): Promise<void> {
    try {
      await this.handles[layer]?.[set]?.appendFile(records);
    } catch (error) {
      throw new ThermoclineError(
        "RESOURCE_EXHAUSTED",
        `activations cannot be written: ${String(error)}; make room for them, or give fewer --tokens`,
        { cause: error },
      );
    }
  }

  async close(): Promise<void> {
    for (const handle of this.handles.flat()) await handle.close();
  }
}
