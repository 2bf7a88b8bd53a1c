/** Writes a synthetic model, a few rows at a time: the next are made while the last are being written. */
import { ThermoclineError } from "../../../proto/errors.js";
import { type GgufHeader, GgufWriter } from "../gguf-writer.js";
import { bytesOf, WEIGHT_TYPES } from "../tensor-types.js";
import { calibrate } from "./calibration.js";
import { encodeRows, SCALED_TOGETHER } from "./encode.js";
import { syntheticMetadata } from "./metadata.js";
import { checkOptions, type SynthOptions } from "./options.js";
import { planTensors, type SynthTensor } from "./tensor-plan.js";

/** Weights made at once: enough that writing them costs little beside, and an interruption is heard soon. */
const WEIGHTS_AT_ONCE = 1 << 20;

/** A model's header and what fills its tensors. */
export interface SynthPlan {
  header: GgufHeader;
  tensors: readonly SynthTensor[];
}

/** Lays a model out without writing it. @throws ThermoclineError INVALID_ARGUMENT, see {@link checkOptions} */
export function planModel(options: SynthOptions): SynthPlan {
  checkOptions(options);
  const tensors = planTensors(options, calibrate(options));
  const { format } = options;
  const header: GgufHeader = {
    format,
    version: 3,
    metadata: syntheticMetadata(options),
    tensors: tensors.map(({ spec }) => spec),
  };
  return { header, tensors };
}

export interface SynthesizeOptions {
  /** Whether an existing file may be replaced. */
  replace: boolean;
  onProgress: (bytesDone: number, bytesTotal: number) => void;
  /** Aborting ends the work with a CANCELLED error and leaves no file behind. */
  signal: AbortSignal | null;
}

/**
 * The file appears under its name when it is whole.
 *
 * @returns the file's size in bytes
 * @throws ThermoclineError INVALID_ARGUMENT (options), FAILED_PRECONDITION (the file exists), RESOURCE_EXHAUSTED (no
 *   room for it), CANCELLED
 */
export async function synthesize(
  out: string,
  model: SynthOptions,
  { replace, onProgress, signal }: SynthesizeOptions,
): Promise<number> {
  const { header, tensors } = planModel(model);
  const writer = await GgufWriter.create(out, header, { replace });
  let writing: Promise<void> = Promise.resolve();
  try {
    let bytesDone = 0;
    for await (const { name, bytes } of pieces(tensors)) {
      await writing;
      if (signal?.aborted === true) {
        throw new ThermoclineError("CANCELLED", `${out}: the synthesis was interrupted; nothing was written`);
      }
      bytesDone += bytes.length;
      onProgress(bytesDone, writer.fileBytes);
      writing = writer.write(name, bytes);
    }
    await writing;
    await writer.finish();
    return writer.fileBytes;
  } catch (error) {
    await writing.catch(() => undefined);
    await writer.discard();
    throw error;
  }
}

/** The tensors' bytes in order. Those of a piece are overwritten by the next but one. */
async function* pieces(tensors: readonly SynthTensor[]): AsyncGenerator<{ name: string; bytes: Uint8Array }> {
  const most = Math.max(...tensors.map((tensor) => rowsAtOnce(tensor) * tensor.cols));
  const mostBytes = Math.max(
    ...tensors.map((tensor) => bytesOf(WEIGHT_TYPES[tensor.type], rowsAtOnce(tensor) * tensor.cols)),
  );
  const numbers = new Int8Array(most);
  const scales = new Float32Array(most / SCALED_TOGETHER);
  let [buffer, other] = [new Uint8Array(mostBytes), new Uint8Array(mostBytes)];
  for (const tensor of tensors) {
    const { rows, cols, type, spec } = tensor;
    const fill = tensor.open();
    const blocks = cols / SCALED_TOGETHER;
    const step = rowsAtOnce(tensor);
    for (let first = 0; first < rows; first += step) {
      const count = Math.min(step, rows - first);
      for (let row = 0; row < count; row++) {
        fill(
          first + row,
          numbers.subarray(row * cols, (row + 1) * cols),
          scales.subarray(row * blocks, (row + 1) * blocks),
        );
      }
      const made = { numbers: numbers.subarray(0, count * cols), scales: scales.subarray(0, count * blocks) };
      yield { name: spec.name, bytes: await encodeRows(type, made, buffer) };
      [buffer, other] = [other, buffer];
    }
  }
}

function rowsAtOnce({ rows, cols }: SynthTensor): number {
  return Math.min(rows, Math.max(1, Math.floor(WEIGHTS_AT_ONCE / cols)));
}
