/** Chooses a model's tokenizer. */
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufFile } from "../gguf.js";
import type { Tokenizer } from "../tokenizer.js";
import { ByteLevelBpeTokenizer } from "./bpe.js";
import { SentencePieceTokenizer } from "./spm.js";

/**
 * The tokenizer a file's metadata describes.
 *
 * @throws ThermoclineError UNIMPLEMENTED (another kind of tokenizer), DATA_LOSS (keys missing or contradictory)
 */
export function loadTokenizer(file: GgufFile): Tokenizer {
  const kind = file.metadata.string("tokenizer.ggml.model");
  switch (kind) {
    case "llama":
      return new SentencePieceTokenizer(file);
    case "gpt2":
      return new ByteLevelBpeTokenizer(file);
    default:
      throw new ThermoclineError(
        "UNIMPLEMENTED",
        `${file.path} wants the tokenizer "${kind}" (tokenizer.ggml.model), which is not supported; supported are ` +
          '"llama" (SentencePiece) and "gpt2" (byte-level BPE)',
      );
  }
}
