// What bench:gpu measures, in which order, and by which commands.

const GIB = 1024 ** 3;
/** What a second process takes of a card before it has anything on it: the driver's context and the kernels' code. */
const CONTEXT_BYTES = 512 * 1024 ** 2;
const KINDS = ["decode", "prefill"];
const PEER = "llama.cpp";

/**
 * @param {{model: string, sparsities: number[], budgets: number[], usable: number, peer: boolean}} wanted budgets, and
 *   what the card has for them, in bytes; `peer` compares with llama.cpp where the card holds both
 * @returns the runs of one model, those of a sparsity together
 */
export function runsOf({ model, sparsities, budgets, usable, peer }) {
  return sparsities.flatMap((sparsity) =>
    budgets.flatMap((bytes) =>
      KINDS.map((kind) => ({
        ...{ kind, model, sparsity, budgetGiB: bytes / GIB },
        peer: peer && holdsBoth(bytes, usable) ? PEER : null,
      })),
    ),
  );
}

/** Whether a card has room for us and for llama.cpp at once, each with such a budget. */
export function holdsBoth(budget, usable) {
  return 2 * budget + CONTEXT_BYTES <= usable;
}

/** Whether a run needs the dense model: it is what is measured, or what llama.cpp computes beside it. */
export function needsDense({ sparsity, peer }) {
  return sparsity === 0 || peer !== null;
}

/**
 * The arguments of the benchmark for a run.
 * @param {{own: string, dense: string}} paths of the models
 * @param {number | null} layers of llama.cpp on the card; null lets the benchmark look for the best number
 */
export function benchArgs({ kind, sparsity, budgetGiB, peer }, { own, dense }, layers, options) {
  const beside = peer === null ? [] : ["--peer", peer, ...(sparsity === 0 ? [] : ["--peer-model", dense])];
  return [
    ...[kind, "--gpu", "cuda", "--vram-budget", `${budgetGiB}GiB`, "--model", own, ...beside],
    ...(peer === null || layers === null ? [] : ["--peer-gpu-layers", String(layers)]),
    ...["--runs", String(options.runs), "--tokens", String(options.tokens)],
    ...["--prompt-tokens", options.promptTokens.join(","), "--json"],
  ];
}

/**
 * The number of llama.cpp's layers that was best for such a run at another sparsity: llama.cpp computes the same there.
 * @param {object[]} lines of results, of this card @param {string} figureName of that number
 */
export function knownLayers(lines, { kind, model, budgetGiB, peer }, figureName) {
  const same = lines.findLast(
    (line) =>
      line.kind === kind && line.model === model && line.budgetGiB === budgetGiB && line.peer === peer,
  );
  const figures = peer === null ? [] : (same?.result?.sections ?? []).flatMap((section) => section.figures);
  return figures.find(({ name }) => name === figureName)?.value ?? null;
}
