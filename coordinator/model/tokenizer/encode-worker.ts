/** The thread behind {@link Encoder}: answers each order with one message. */
import { parentPort, workerData } from "node:worker_threads";
import { ThermoclineError } from "../../../proto/errors.js";
import { readGguf } from "../gguf.js";
import type { Tokenizer } from "../tokenizer.js";
import type { EncodeAnswer, EncodeOrder, VocabularyFile } from "./encoder.js";
import { loadTokenizer } from "./load-tokenizer.js";

const file: VocabularyFile = workerData;
let tokenizer: Tokenizer | null = null;

parentPort?.on("message", (order: EncodeOrder) => {
  void answer(order).then((message) => parentPort?.postMessage(message));
});

async function answer({ text, addSpecial, parseSpecial }: EncodeOrder): Promise<EncodeAnswer> {
  try {
    tokenizer ??= await openTokenizer();
    return { kind: "tokens", tokens: Uint32Array.from(tokenizer.encode(text, addSpecial, parseSpecial)) };
  } catch (error) {
    const code = error instanceof ThermoclineError ? error.code : "INTERNAL";
    return { kind: "failed", code, message: error instanceof Error ? error.message : String(error) };
  }
}

async function openTokenizer(): Promise<Tokenizer> {
  const found = await readGguf(file.path);
  if (found.fileBytes === file.fileBytes) return loadTokenizer(found);
  throw new ThermoclineError(
    "FAILED_PRECONDITION",
    `${file.path} has ${found.fileBytes} bytes, and had ${file.fileBytes} when the server started; restart the server`,
  );
}
