/** Stores the rows of many tensors in other types, several pieces at a time, and writes them in order. */
import { convertRows, machine, NativeError, type WeightType } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { GgufWriter } from "./gguf-writer.js";

/** Some of a tensor's bytes. */
export interface TensorPiece {
  tensor: string;
  bytes: Uint8Array;
  /** What the bytes are, whole rows of `cols` elements, and what they become; null writes them as they are. */
  conversion: { from: WeightType; to: WeightType; cols: number } | null;
}

export interface ConversionWatch {
  /** Of the file that is written. */
  onProgress: (bytesDone: number, bytesTotal: number) => void;
  /** Aborting ends the work with a CANCELLED error. */
  signal: AbortSignal | null;
}

/**
 * Writes the pieces in their order, a tensor's one behind another. One piece a core is converted at a time, so that
 * memory holds a few pieces however large the model is.
 *
 * @param out the file's path, for messages
 * @throws ThermoclineError DATA_LOSS (an element is no finite number), INVALID_ARGUMENT (one lies beyond the type's
 *   reach), CANCELLED, and what reading or writing throws
 */
export async function writeConverted(
  writer: GgufWriter,
  pieces: AsyncIterable<TensorPiece>,
  out: string,
  { onProgress, signal }: ConversionWatch,
): Promise<void> {
  const most = machine().cores;
  const waiting: { tensor: string; converted: Promise<Uint8Array> }[] = [];
  let bytesDone = 0;
  const writeFirst = async (): Promise<void> => {
    const first = waiting.shift();
    if (first === undefined) return;
    const bytes = await first.converted;
    await writer.write(first.tensor, bytes);
    bytesDone += bytes.length;
    onProgress(bytesDone, writer.fileBytes);
  };
  try {
    for await (const piece of pieces) {
      if (signal?.aborted === true) {
        throw new ThermoclineError(
          "CANCELLED",
          `${out}: the conversion was interrupted; nothing was written`,
        );
      }
      const converted = convert(piece);
      // It is looked at in its turn; until then a failure is not unhandled.
      converted.catch(() => undefined);
      waiting.push({ tensor: piece.tensor, converted });
      if (waiting.length > most) await writeFirst();
    }
    while (waiting.length > 0) await writeFirst();
  } finally {
    await Promise.allSettled(waiting.map(({ converted }) => converted));
  }
}

async function convert({ tensor, bytes, conversion }: TensorPiece): Promise<Uint8Array> {
  if (conversion === null) return bytes;
  try {
    return await convertRows({ ...conversion, source: bytes });
  } catch (error) {
    if (!(error instanceof NativeError)) throw error;
    if (error.code === "corrupt") {
      throw new ThermoclineError("DATA_LOSS", `tensor ${tensor}: ${error.message}; get the model again`, {
        cause: error,
      });
    }
    if (error.code === "invalid-argument" && error.argument === "to") {
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `tensor ${tensor}: ${error.message}; choose --type f32`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}
