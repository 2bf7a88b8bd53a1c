/** Which function a file's feed-forward gates go through. Decided here and nowhere else. */
import type { Activation } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { GgufFile } from "./gguf.js";
import { abbreviate } from "./gguf-metadata.js";

/** Our own metadata key: "silu", "relu", or "relu2" (ReLU on gate and up). `thermocline convert` writes it. */
export const ACTIVATION_KEY = "thermocline.feed_forward.activation";
/** Another: under the ReLUs, gates below this count as 0 (FATReLU). Files of plain ReLU and of SiLU have none. */
export const RELU_THRESHOLD_KEY = "thermocline.feed_forward.relu_threshold";

export const ACTIVATIONS: readonly Activation[] = ["relu", "relu2", "silu"];

/** What the caller knows better than the file; null, or nothing, takes the file's own. */
export interface ActivationOverrides {
  activation?: Activation | null;
  reluThreshold?: number | null;
}

export interface ActivationChoice {
  activation: Activation;
  /** What decided it, as the end of the sentence "the activation is ...". */
  reason: string;
  /** See {@link RELU_THRESHOLD_KEY}; 0 is plain ReLU, and all that SiLU allows. A float32. */
  reluThreshold: number;
}

/**
 * @throws ThermoclineError UNIMPLEMENTED for an activation the file names and no engine has, DATA_LOSS for a file's
 *   threshold that is none, INVALID_ARGUMENT for the caller's
 */
export function decideActivation(file: GgufFile, overrides: ActivationOverrides): ActivationChoice {
  const override = overrides.activation ?? null;
  const { activation, reason } = decideFunction(file, override);
  const given = overrides.reluThreshold ?? null;
  const reluThreshold =
    given === null
      ? storedThreshold(file, activation, override !== null)
      : givenThreshold(file, activation, given);
  return { activation, reason, reluThreshold };
}

/** Whether engines can compute with it: they hold it as a float32. */
export function isReluThreshold(value: number): boolean {
  return value >= 0 && Number.isFinite(Math.fround(value));
}

/**
 * The first of these that says something: the caller, our own key, the architecture (Bamboo has ReLU on gate and up),
 * PowerInfer's format (made for ReLU models only), the key that llama.cpp's converters write for models with a choice
 * of activations. llama files that say nothing mean SiLU.
 */
function decideFunction(
  file: GgufFile,
  override: Activation | null,
): Omit<ActivationChoice, "reluThreshold"> {
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

/** The caller's, which must suit the activation. */
function givenThreshold(file: GgufFile, activation: Activation, value: number): number {
  const refuse = (why: string) => new ThermoclineError("INVALID_ARGUMENT", `${file.path}: ${why}`);
  if (!isReluThreshold(value)) throw refuse(`the ReLU threshold is ${value}; give 0 or a positive number`);
  if (value > 0 && activation === "silu") {
    throw refuse("its activation is silu, which has no threshold; leave --relu-threshold out");
  }
  return Math.fround(value);
}

/** The file's, which must suit the file's own activation; a caller may have chosen SiLU instead. */
function storedThreshold(file: GgufFile, activation: Activation, overridden: boolean): number {
  const value = file.metadata.number(RELU_THRESHOLD_KEY, 0);
  const refuse = (where: string) =>
    new ThermoclineError(
      "DATA_LOSS",
      `${file.path}: ${RELU_THRESHOLD_KEY} is ${value} where ${where}; convert the model again`,
    );
  if (!isReluThreshold(value)) throw refuse("0 or a positive number belongs");
  if (activation !== "silu") return Math.fround(value);
  if (value > 0 && !overridden) throw refuse("the activation is silu, which has no threshold");
  return 0;
}
