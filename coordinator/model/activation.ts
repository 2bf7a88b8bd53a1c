/** Which function a file's feed-forward gates go through. Decided here and nowhere else. */
import type { Activation } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { GgufFile } from "./gguf.js";
import { abbreviate } from "./gguf-metadata.js";

/** Our own metadata key: "silu", "relu", or "relu2" (ReLU on gate and up). `thermocline convert` writes it. */
export const ACTIVATION_KEY = "thermocline.feed_forward.activation";

export const ACTIVATIONS: readonly Activation[] = ["relu", "relu2", "silu"];

export interface ActivationChoice {
  activation: Activation;
  /** What decided it, as the end of the sentence "the activation is ...". */
  reason: string;
}

/**
 * The first of these that says something: the caller, our own key, the architecture (Bamboo has ReLU on gate and up),
 * PowerInfer's format (made for ReLU models only), the key that llama.cpp's converters write for models with a choice
 * of activations. llama files that say nothing mean SiLU.
 *
 * @throws ThermoclineError UNIMPLEMENTED for an activation the file names and no engine has
 */
export function decideActivation(file: GgufFile, override: Activation | null): ActivationChoice {
  if (override !== null) return { activation: override, reason: "given by the caller" };
  const { metadata } = file;
  const own = metadata.string(ACTIVATION_KEY, null);
  if (own !== null)
    return { activation: parse(file, ACTIVATION_KEY, own), reason: `metadata key ${ACTIVATION_KEY}` };
  const architecture = metadata.string("general.architecture", "");
  if (architecture === "bamboo") return { activation: "relu2", reason: "the architecture bamboo implies it" };
  if (file.format === "pwri") return { activation: "relu", reason: "PowerInfer's format implies it" };
  const key = `${architecture}.hidden_activation`;
  const named = metadata.string(key, null);
  if (named !== null) return { activation: parse(file, key, named), reason: `metadata key ${key}` };
  return { activation: "silu", reason: `the default of the architecture ${architecture}` };
}

function parse(file: GgufFile, key: string, name: string): Activation {
  const known = ACTIVATIONS.find((activation) => activation === name);
  if (known !== undefined) return known;
  throw new ThermoclineError(
    "UNIMPLEMENTED",
    `${file.path}: ${key} is "${abbreviate(name)}"; supported: ${ACTIVATIONS.join(", ")}; override it with --activation`,
  );
}
