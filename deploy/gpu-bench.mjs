// How fast a real card is: its kernels against its own copy bandwidth, then whole models in VRAM budgets of several cards.
//
//   node deploy/gpu-bench.mjs [--kernels-only] [--models 7b,13b] [--budgets 8,11] [--sparsities 0,0.9] [--runs 3]
//                             [--tokens 64] [--prompt-tokens 128] [--out FILE] [--folder DIR] [--allow-skip]
//
// Every result is a line of JSON in --out (gpu-bench.jsonl) as soon as it is there; what --out already has is not
// measured again. Models are made in --folder, one at a time, and removed. Budgets are in GiB.
import { existsSync, mkdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { join, resolve } from "node:path";
import { BUILD, buildForCards, openCard, ROOT, run, say } from "./gpu.mjs";
import { benchOptions, budgetsWorthARun, MODELS } from "./gpu-options.mjs";
import { Results } from "./gpu-results.mjs";
import { runScript, SetupError } from "./setup.mjs";

const GIB = 1024 ** 3;
const PREDICTOR_RANK = 1024;
/** Q4_0: 18 bytes for 32 weights. */
const BYTES_A_WEIGHT = 18 / 32;
/** The KV cache and scratch of a run, at the most. */
const BESIDE_WEIGHTS = 9 * GIB;
/** Of this machine's memory, for weights; CPU executors copy theirs beside the file's pages. */
const MEMORY_SHARE = 0.85;

let interrupted = false;
process.on("SIGINT", () => {
  // Children have it as well, and end.
  interrupted = true;
});

await runScript(async () => {
  const options = benchOptions(process.argv.slice(2));
  const card = await openCard();
  if (card === null) return options.allowSkip ? 0 : 1;
  const results = new Results(resolve(options.out), card.name);
  const failed = [];
  await kernels(card, results, failed);
  if (!options.kernelsOnly && !interrupted) {
    tellOfPeer();
    for (const model of options.models) {
      for (const sparsity of options.sparsities) {
        if (!interrupted) await measureModel(model, sparsity, card, options, results, failed);
      }
    }
  }
  say(`results: ${results.path}`);
  if (interrupted) say("interrupted; the same command goes on from here");
  if (failed.length > 0) say(`failed:\n  ${failed.join("\n  ")}`);
  return interrupted ? 130 : failed.length === 0 ? 0 : 1;
});

async function kernels(card, results, failed) {
  const what = { kind: "kernels" };
  if (results.has(what)) return;
  const target = "gpu_kernels_bench";
  if (!(await buildForCards(target, `${card.computeMajor}${card.computeMinor}`))) {
    failed.push("the kernels' benchmark was not built");
    return;
  }
  const json = await output(join(BUILD, target), ["--json"]);
  if (json === null) failed.push("the kernels' benchmark");
  else {
    const [first, ...rows] = json
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    results.add(what, { ...first, rows });
    say(`a copy reads and writes ${(first.copyBytesPerS / 1e9).toFixed(1)} GB/s`);
    for (const { what: name, type, microseconds, bytes, copyShare } of rows) {
      const cells = [name.padEnd(52), type.padEnd(5), `${microseconds.toFixed(2)} us`.padStart(14)];
      process.stdout.write(
        `${cells.join("  ")}  ${(bytes / 1e6).toFixed(2).padStart(9)} MB  ${(100 * copyShare).toFixed(1).padStart(6)} %\n`,
      );
    }
  }
}

function tellOfPeer() {
  const installed = existsSync(join(ROOT, "node_modules/@node-llama-cpp/linux-x64-cuda"));
  say(
    `llama.cpp is not compared: ${installed ? "the benchmarks run its CPU build only, and not yet its CUDA build" : "its CUDA build (@node-llama-cpp/linux-x64-cuda) is not installed"}`,
  );
}

async function measureModel(name, sparsity, card, options, results, failed) {
  const preset = MODELS[name];
  const weights = (await weightsOf(preset)) * BYTES_A_WEIGHT;
  const { usableBytes } = await import(join(ROOT, "dist/coordinator/executors/choose-device.js"));
  const all = options.budgets.map((gib) => gib * GIB);
  const budgets = budgetsWorthARun(all, weights + BESIDE_WEIGHTS, usableBytes(card));
  const runs = budgets
    .flatMap((bytes) =>
      ["decode", "prefill"].map((kind) => ({ kind, model: name, sparsity, budgetGiB: bytes / GIB })),
    )
    .filter((what) => !results.has(what));
  if (budgets.length === 0) say(`${name}: the card has too little memory for any of these budgets`);
  if (runs.length === 0) return;

  const folder = resolve(options.folder);
  mkdirSync(folder, { recursive: true });
  const reason = noRoom(weights, folder);
  if (reason !== null) {
    say(`${name}, sparsity ${sparsity}, is left out: ${reason}`);
    return;
  }
  const path = join(folder, `gpu-bench-${name}.gguf`);
  const activity =
    sparsity === 0
      ? ["--activation", "silu"]
      : ["--sparsity", String(sparsity), "--predictor-rank", String(PREDICTOR_RANK)];
  say(`making ${path}, sparsity ${sparsity}`);
  try {
    const synth = ["synth", path, "--preset", preset, ...activity, "--no-measure", "--force"];
    if ((await run(process.execPath, [join(ROOT, "dist/coordinator/main.js"), ...synth])) !== 0) {
      if (!interrupted) failed.push(`making ${name} with sparsity ${sparsity}`);
      return;
    }
    say(`made ${(statSync(path).size / GIB).toFixed(1)} GiB`);
    for (const what of runs) {
      if (interrupted) return;
      await measure(what, path, options, results, failed);
    }
  } finally {
    rmSync(path, { force: true });
  }
}

async function measure(what, path, options, results, failed) {
  const { kind, model, sparsity, budgetGiB } = what;
  const name = `${kind}, ${model}, sparsity ${sparsity}, ${budgetGiB} GiB`;
  say(name);
  const json = await output(process.execPath, [
    ...[join(ROOT, "dist/bench/main.js"), kind, "--gpu", "cuda", "--vram-budget", `${budgetGiB}GiB`],
    ...["--model", path, "--runs", String(options.runs), "--tokens", String(options.tokens)],
    ...["--prompt-tokens", options.promptTokens.join(","), "--json"],
  ]);
  if (interrupted) return;
  if (json === null) {
    failed.push(name);
    return;
  }
  const report = JSON.parse(json);
  results.add(what, report);
  for (const { name: figure, value, unit } of report.sections.flatMap(({ figures }) => figures)) {
    if (unit === "tokens/s") process.stdout.write(`${name}: ${figure}: ${value.toFixed(2)} ${unit}\n`);
  }
}

/** @returns what a command printed, or null when it failed */
async function output(command, args) {
  let text = "";
  const code = await run(command, args, { onOutput: (part) => (text += part) });
  return code === 0 ? text : null;
}

/** Of the layers' and the embedding's matrices, and of predictors. */
async function weightsOf(preset) {
  const { PRESETS } = await import(join(ROOT, "dist/coordinator/model/synth/shapes.js"));
  const found = PRESETS[preset];
  if (found === undefined) throw new SetupError(`there is no preset ${preset}`);
  const { layers, embd, heads, kvHeads, ff, vocab } = found.shape;
  const attention = 2 * embd * embd * (1 + kvHeads / heads);
  return layers * (attention + 3 * embd * ff + PREDICTOR_RANK * (embd + ff)) + 2 * vocab * embd;
}

function noRoom(bytes, folder) {
  const { bavail, bsize } = statfsSync(folder);
  const gib = (count) => `${(count / GIB).toFixed(0)} GiB`;
  if (bytes > bavail * bsize) return `${folder} has ${gib(bavail * bsize)} free, and it takes ${gib(bytes)}`;
  if (bytes > MEMORY_SHARE * totalmem())
    return `this machine has ${gib(totalmem())}, and it takes ${gib(bytes)}`;
  return null;
}
