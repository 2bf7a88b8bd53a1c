/** A text file that is read as far as is needed, and checked to be UTF-8. */
import { createHash } from "node:crypto";
import { createReadStream, type ReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { isErrno } from "../../proto/errno.js";
import { ThermoclineError } from "../../proto/errors.js";

export class TextFile {
  private readonly stream: ReadStream;
  private readonly chunks: AsyncIterator<Buffer>;
  // A byte order mark is text: llama.cpp passes it on as well.
  private readonly decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  private text = "";
  private bytesRead = 0;
  private ended = false;

  private constructor(
    private readonly path: string,
    stream: ReadStream,
  ) {
    this.stream = stream;
    this.chunks = stream[Symbol.asyncIterator]();
  }

  /**
   * @param signal ends reading
   * @throws ThermoclineError NOT_FOUND, INVALID_ARGUMENT (a folder), FAILED_PRECONDITION (it cannot be read)
   */
  static async open(path: string, signal: AbortSignal): Promise<TextFile> {
    return new TextFile(path, await openStream(path, signal));
  }

  /**
   * @returns the text's start, of `characters` UTF-16 units or a little more; all of it if there is no more
   * @throws ThermoclineError INVALID_ARGUMENT (not UTF-8), FAILED_PRECONDITION (it cannot be read), or the signal's reason
   */
  async read(characters: number): Promise<{ text: string; isWhole: boolean }> {
    while (!this.ended && this.text.length < characters) {
      const { done, value } = await this.chunks.next().catch((error: unknown) => {
        throw unreadable(this.path, error);
      });
      this.text += this.decode(done === true ? null : value);
      this.ended = done === true;
    }
    return { text: this.text, isWhole: this.ended };
  }

  /** Idempotent. */
  close(): void {
    this.stream.destroy();
  }

  /** @param bytes null for the end */
  private decode(bytes: Buffer | null): string {
    try {
      const text = bytes === null ? this.decoder.decode() : this.decoder.decode(bytes, { stream: true });
      this.bytesRead += bytes?.length ?? 0;
      return text;
    } catch (error) {
      const what =
        bytes === null
          ? "it ends inside a character"
          : `an error lies in bytes ${this.bytesRead} to ${this.bytesRead + bytes.length - 1}`;
      throw new ThermoclineError(
        "INVALID_ARGUMENT",
        `${this.path}: is not UTF-8 (${what}); convert it, such as with iconv -t UTF-8`,
        { cause: error },
      );
    }
  }
}

/**
 * By which a text is known again, wherever it lies.
 *
 * @returns the SHA-256 of its bytes, hexadecimal
 * @throws ThermoclineError as {@link TextFile.open} does, or the signal's reason
 */
export async function textDigest(path: string, signal: AbortSignal): Promise<string> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of await openStream(path, signal)) hash.update(chunk as Buffer);
  } catch (error) {
    throw signal.aborted ? signal.reason : unreadable(path, error);
  }
  return hash.digest("hex");
}

async function openStream(path: string, signal: AbortSignal): Promise<ReadStream> {
  const found = await stat(path).catch((error: unknown) => {
    throw unreadable(path, error);
  });
  if (found.isDirectory()) {
    throw new ThermoclineError("INVALID_ARGUMENT", `${path}: is a folder; give a text file`);
  }
  return createReadStream(path, { signal });
}

function unreadable(path: string, error: unknown): unknown {
  if (error instanceof ThermoclineError || (error instanceof Error && error.name === "AbortError"))
    return error;
  if (isErrno(error, "ENOENT") || isErrno(error, "ENOTDIR")) {
    return new ThermoclineError("NOT_FOUND", `${path}: there is no such file; check the path`, {
      cause: error,
    });
  }
  const reason = error instanceof Error && "code" in error ? error.code : error;
  return new ThermoclineError(
    "FAILED_PRECONDITION",
    `${path}: the file cannot be read (${String(reason)}); check its permissions`,
    { cause: error },
  );
}
