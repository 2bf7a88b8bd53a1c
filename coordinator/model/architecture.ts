/** Architectures whose layers the engines compute: llama's, and what others have in place of its norm and rotation. */
import type { Norm, RopePairs } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { GgufFile } from "./gguf.js";
import { abbreviate } from "./gguf-metadata.js";

export interface Architecture {
  /** `general.architecture`, which also begins the names of metadata keys. */
  name: string;
  norm: Norm;
  /** The tensors that each norm consists of. */
  normParts: readonly ("weight" | "bias")[];
  /** How rows of query and key matrices are ordered; llama's converters bring pairs together. */
  ropePairs: RopePairs;
}

const LLAMA = { norm: "rms", normParts: ["weight"], ropePairs: "adjacent" } as const;

const ARCHITECTURES: readonly Architecture[] = [
  { name: "llama", ...LLAMA },
  { name: "bamboo", ...LLAMA },
  { name: "olmo", norm: "layer", normParts: [], ropePairs: "adjacent" },
  { name: "orion", norm: "layer", normParts: ["weight", "bias"], ropePairs: "halves" },
  { name: "stablelm", norm: "layer", normParts: ["weight", "bias"], ropePairs: "halves" },
];

/** @throws ThermoclineError DATA_LOSS when the key is missing, UNIMPLEMENTED for an architecture without an engine */
export function architectureOf(file: GgufFile): Architecture {
  const name = file.metadata.string("general.architecture");
  const found = ARCHITECTURES.find((architecture) => architecture.name === name);
  if (found !== undefined) return found;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${file.path}: the architecture ${abbreviate(name)} has no engine yet; supported: ` +
      ARCHITECTURES.map((architecture) => architecture.name).join(", "),
  );
}
