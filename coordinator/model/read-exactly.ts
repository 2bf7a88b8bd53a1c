/** Reads a part of a file that must be there. */
import type { FileHandle } from "node:fs/promises";
import { ThermoclineError } from "../../proto/errors.js";

/**
 * @param path of the file, for messages
 * @param offset from the start of the file, in bytes
 * @throws ThermoclineError DATA_LOSS when the file ends before
 */
export async function readExactly(
  file: FileHandle,
  path: string,
  offset: number,
  bytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const target = new Uint8Array(bytes);
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await file.read(target, done, bytes - done, offset + done);
    if (bytesRead === 0) {
      throw new ThermoclineError(
        "DATA_LOSS",
        `${path}: the file ends at byte ${offset + done}, before ${offset + bytes}; get the model again`,
      );
    }
    done += bytesRead;
  }
  return target;
}
