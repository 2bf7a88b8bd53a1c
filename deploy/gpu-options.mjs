// The options of the scripts for a machine with a card.
import { parseArgs } from "node:util";
import { SetupError } from "./setup.mjs";

export const MODELS = { "7b": "llama-7b", "13b": "llama-13b", "33b": "llama-33b", "70b": "llama-70b" };
const BENCH_DEFAULTS = {
  models: Object.keys(MODELS).join(","),
  budgets: "8,11,16,24",
  sparsities: "0,0.5,0.8,0.9,0.95",
  runs: "3",
  tokens: "64",
  "prompt-tokens": "128",
  out: "gpu-bench.jsonl",
  folder: ".",
};

/** @param {string[]} args @throws SetupError */
export function testOptions(args) {
  const { values } = parse(args, {
    "allow-skip": { type: "boolean", default: false },
    "kernels-only": { type: "boolean", default: false },
  });
  return { allowSkip: values["allow-skip"], kernelsOnly: values["kernels-only"] };
}

/** @param {string[]} args @throws SetupError */
export function benchOptions(args) {
  const texts = Object.entries(BENCH_DEFAULTS).map(([name, text]) => [
    name,
    { type: "string", default: text },
  ]);
  const { values } = parse(args, {
    ...Object.fromEntries(texts),
    "allow-skip": { type: "boolean", default: false },
    "kernels-only": { type: "boolean", default: false },
    "no-peer": { type: "boolean", default: false },
  });
  const wholes = (name) => numbers(values, name, 1, 1e6, /^\d+$/);
  const whole = (name) => {
    const [only, ...others] = wholes(name);
    if (others.length === 0) return only;
    throw new SetupError(`--${name} is "${values[name]}"; give one number`);
  };
  return {
    models: listOf(values, "models", (name) => name in MODELS, Object.keys(MODELS).join(", ")),
    /** GiB. */
    budgets: numbers(values, "budgets", 0.001, 1024),
    /** 0 is a dense model. */
    sparsities: numbers(values, "sparsities", 0, 0.999),
    runs: whole("runs"),
    tokens: whole("tokens"),
    promptTokens: wholes("prompt-tokens"),
    out: values.out,
    folder: values.folder,
    allowSkip: values["allow-skip"],
    kernelsOnly: values["kernels-only"],
    /** Whether llama.cpp is measured as well. */
    peer: !values["no-peer"],
  };
}

/**
 * Which budgets are worth a run: those the card has, and of those that hold all of the model only the smallest.
 * @param {number[]} budgets in bytes @param {number} modelBytes with its cache @param {number} usable of the card
 */
export function budgetsWorthARun(budgets, modelBytes, usable) {
  const ascending = [...new Set(budgets)].sort((a, b) => a - b).filter((bytes) => bytes <= usable);
  const enough = ascending.findIndex((bytes) => bytes >= modelBytes);
  return enough === -1 ? ascending : ascending.slice(0, enough + 1);
}

function parse(args, options) {
  try {
    return parseArgs({ args, options });
  } catch (error) {
    throw new SetupError(
      `${error.message} (options: ${Object.keys(options)
        .map((name) => `--${name}`)
        .join(", ")})`,
    );
  }
}

function listOf(values, name, isFine, what) {
  const items = values[name].split(",");
  if (items.every(isFine)) return [...new Set(items)];
  throw new SetupError(`--${name} is "${values[name]}"; give, with commas between, ${what}`);
}

function numbers(values, name, least, most, form = /^\d+(\.\d+)?$/) {
  const isFine = (text) => form.test(text) && Number(text) >= least && Number(text) <= most;
  return listOf(values, name, isFine, `numbers from ${least} to ${most}`).map(Number);
}
