/**
 * How byte-level BPE models cut text into words before merging: the regular expressions of their `tokenizer.json`,
 * under the names GGUF's `tokenizer.ggml.pre` gives them. Each pattern is applied to what the ones before it left;
 * matches and the text between them both become words.
 */
import { ThermoclineError } from "../../../proto/errors.js";
import type { GgufFile } from "../gguf.js";

export interface Pretokenizer {
  names: readonly string[];
  patterns: readonly string[];
  /** Whether a word that is a token as a whole is not split by merges. */
  wholeWordsFirst: boolean;
  /** Whether sequences begin with the beginning-of-sequence token where the file does not say. */
  addBos: boolean;
}

const GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const CONTRACTIONS = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]";
const HAN_KANA_HANGUL = "[\\u4e00-\\u9fa5\\u0800-\\u4e00\\uac00-\\ud7ff]+";
/** Cased letters as DeepSeek's tokenizer lists them: a selection of Unicode 11, no property gives it. */
const DEEPSEEK_LETTERS =
  "A-Za-z\\u00b5\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u01ba\\u01bc-\\u01bf\\u01c4-\\u0293" +
  "\\u0295-\\u02af\\u0370-\\u0373\\u0376\\u0377\\u037b-\\u037d\\u037f\\u0386\\u0388-\\u038a\\u038c" +
  "\\u038e-\\u03a1\\u03a3-\\u03f5\\u03f7-\\u0481\\u048a-\\u052f\\u0531-\\u0556\\u10a0-\\u10c5" +
  "\\u13a0-\\u13f5\\u13f8-\\u13fd\\u1c90-\\u1cba\\u1cbd-\\u1cbf\\u1d00-\\u1d2b\\u1d6b-\\u1d77" +
  "\\u1d79-\\u1d9a\\u1e00-\\u1f15\\u1f18-\\u1f1d\\u1f20-\\u1f45\\u1f48-\\u1f4d\\u1f50-\\u1f57\\u1f59" +
  "\\u1f5b\\u1f5d\\u1f5f-\\u1f7d\\u1f80-\\u1fb4\\u1fb6-\\u1fbc\\u1fbe\\u1fc2-\\u1fc4\\u1fc6-\\u1fcc" +
  "\\u1fd0-\\u1fd3\\u1fd6-\\u1fdb\\u1fe0-\\u1fec\\u1ff2-\\u1ff4\\u1ff6-\\u1ffc\\u2102\\u2107" +
  "\\u210a-\\u2113\\u2115\\u2119-\\u211d\\u2124\\u2126\\u2128\\u212a-\\u212d\\u212f-\\u2134\\u2139" +
  "\\u213c-\\u213f\\u2145-\\u2149\\u214e\\u2183\\u2184\\u2c00-\\u2c7b\\u2c7e-\\u2ce4\\u2ceb-\\u2cee" +
  "\\u2cf2\\u2cf3\\ua640-\\ua66d\\ua680-\\ua69b\\ua722-\\ua76f\\ua771-\\ua787\\ua78b-\\ua78e" +
  "\\uab70-\\uabbf\\ufb00-\\ufb06\\ufb13-\\ufb17\\uff21-\\uff3a\\uff41-\\uff5a\\u{10400}-\\u{1044f}" +
  "\\u{104b0}-\\u{104d3}\\u{104d8}-\\u{104fb}\\u{10c80}-\\u{10cb2}\\u{10cc0}-\\u{10cf2}" +
  "\\u{118a0}-\\u{118df}\\u{1e900}-\\u{1e943}";

const PRETOKENIZERS: readonly Pretokenizer[] = [
  { names: ["gpt-2", "phi-2", "mpt", "olmo"], patterns: [GPT2], wholeWordsFirst: false, addBos: false },
  {
    names: ["starcoder", "refact", "command-r", "smollm"],
    patterns: ["\\p{N}", GPT2],
    wholeWordsFirst: false,
    addBos: false,
  },
  {
    names: ["falcon"],
    patterns: ["[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"],
    wholeWordsFirst: false,
    addBos: false,
  },
  {
    names: ["llama-bpe", "llama3", "llama-v3"],
    patterns: [
      `(?:${CONTRACTIONS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ],
    wholeWordsFirst: true,
    addBos: true,
  },
  {
    names: ["qwen2", "deepseek-r1-qwen", "stablelm2"],
    patterns: [
      `(?:${CONTRACTIONS})|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ],
    wholeWordsFirst: false,
    addBos: false,
  },
  {
    names: ["qwen35"],
    patterns: [
      `(?:${CONTRACTIONS})|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+`,
    ],
    wholeWordsFirst: false,
    addBos: false,
  },
  {
    names: ["deepseek-coder"],
    patterns: ["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN_KANA_HANGUL, "\\p{N}"],
    wholeWordsFirst: false,
    addBos: false,
  },
  {
    names: ["deepseek-llm"],
    patterns: [
      "[\\r\\n]",
      `\\s?[${DEEPSEEK_LETTERS}]+`,
      "\\s?[!-/:-~\\uff01-\\uff0f\\uff1a-\\uff5e\\u2018-\\u201f\\u3000-\\u3002]+",
      "\\s+$",
      HAN_KANA_HANGUL,
      "\\p{N}+",
    ],
    wholeWordsFirst: false,
    addBos: false,
  },
];

/** Architectures whose files may be older than `tokenizer.ggml.pre` and that ever had one way of cutting only. */
const PRE_BY_ARCHITECTURE: ReadonlyMap<string, string> = new Map([
  ["falcon", "falcon"],
  ["gpt2", "gpt-2"],
  ["mpt", "mpt"],
  ["opt", "gpt-2"],
]);

/** @throws ThermoclineError UNIMPLEMENTED, naming what is supported */
export function pretokenizerOf(file: GgufFile): Pretokenizer {
  const architecture = file.metadata.string("general.architecture", "");
  const pre = file.metadata.string("tokenizer.ggml.pre", PRE_BY_ARCHITECTURE.get(architecture) ?? null);
  const found = PRETOKENIZERS.find(({ names }) => pre !== null && names.includes(pre));
  if (found !== undefined) return found;
  const problem =
    pre === null
      ? `does not say how text is cut before merging (tokenizer.ggml.pre), and "${architecture}" models differ in it`
      : `wants the pre-tokenizer "${pre}" (tokenizer.ggml.pre), which is not supported`;
  const supported = PRETOKENIZERS.flatMap(({ names }) => names).join(", ");
  throw new ThermoclineError("UNIMPLEMENTED", `${file.path} ${problem}; supported are ${supported}`);
}
