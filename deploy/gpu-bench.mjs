// How fast a real card is: its kernels against its own copy bandwidth, then whole models in VRAM budgets of several cards,
// beside llama.cpp's CUDA build in the same budget where that is installed and the card holds both.
//
//   node deploy/gpu-bench.mjs [--kernels-only] [--models 7b,13b] [--budgets 8,11] [--sparsities 0,0.9] [--runs 3]
//                             [--tokens 64] [--prompt-tokens 128] [--no-peer] [--out FILE] [--folder DIR] [--allow-skip]
//
// Every result is a line of JSON in --out (gpu-bench.jsonl) as soon as it is there; what --out already has is not
// measured again. Models are made in --folder and removed: at most two at a time, of which one is dense. Budgets are in
// GiB.
import { mkdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { totalmem } from "node:os";
import { dirname, join, resolve } from "node:path";
import { BUILD, buildForCards, IS_PACKED, openCard, ROOT, run, say } from "./gpu.mjs";
import { benchOptions, budgetsWorthARun, MODELS } from "./gpu-options.mjs";
import { benchArgs, holdsBoth, knownLayers, needsDense, runsOf } from "./gpu-plan.mjs";
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

/** Where nothing can be installed. */
const PEER_OF_ARCHIVE = ` (npm run pack:gpu -- --with-peer makes an archive of it, to be unpacked over this one)`;

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
    const peer = options.peer && (await tellOfPeer());
    for (const model of options.models) {
      if (!interrupted) await measureModel(model, peer, card, options, results, failed);
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

/** @returns whether llama.cpp can be measured */
async function tellOfPeer() {
  const { whyNoCudaBuild } = await import(join(ROOT, "dist/bench/llama-cpp-cuda.js"));
  const problem = whyNoCudaBuild();
  if (problem === null)
    say("llama.cpp's CUDA build is measured beside us, with the dense model of each shape");
  else say(`llama.cpp is not compared: ${problem}${IS_PACKED ? PEER_OF_ARCHIVE : ""}`);
  return problem === null;
}

async function measureModel(name, installed, card, options, results, failed) {
  const weights = (await weightsOf(MODELS[name])) * BYTES_A_WEIGHT;
  const { usableBytes } = await import(join(ROOT, "dist/coordinator/executors/choose-device.js"));
  const usable = usableBytes(card);
  const all = options.budgets.map((gib) => gib * GIB);
  const budgets = budgetsWorthARun(all, weights + BESIDE_WEIGHTS, usable);
  if (budgets.length === 0) say(`${name}: the card has too little memory for any of these budgets`);
  const folder = resolve(options.folder);
  mkdirSync(folder, { recursive: true });
  const peer = installed && hasRoomForPeer(name, weights, folder);
  for (const bytes of peer ? budgets : []) {
    if (!holdsBoth(bytes, usable))
      say(
        `${name}, ${bytes / GIB} GiB: llama.cpp is not compared, the card has no room for such a budget each`,
      );
  }
  const { sparsities } = options;
  const runs = runsOf({ model: name, sparsities, budgets, usable, peer }).filter(
    (what) => !results.has(what),
  );
  const dense = join(folder, `gpu-bench-${name}-dense.gguf`);
  let denseIsMade = false;
  try {
    for (const sparsity of sparsities) {
      const here = runs.filter((what) => what.sparsity === sparsity);
      if (here.length === 0 || interrupted) continue;
      if (!denseIsMade && here.some(needsDense)) {
        denseIsMade = await makeModel(dense, name, 0, weights, failed);
        if (!denseIsMade) return;
      }
      await measureSparsity(sparsity, here, { name, weights, folder, dense }, options, results, failed);
    }
  } finally {
    rmSync(dense, { force: true });
  }
}

async function measureSparsity(sparsity, runs, { name, weights, folder, dense }, options, results, failed) {
  const own = sparsity === 0 ? dense : join(folder, `gpu-bench-${name}.gguf`);
  try {
    if (sparsity !== 0 && !(await makeModel(own, name, sparsity, weights, failed))) return;
    for (const what of runs) {
      if (interrupted) return;
      await measure(what, { own, dense }, options, results, failed);
    }
  } finally {
    if (own !== dense) rmSync(own, { force: true });
  }
}

/** Two models, on disk and in memory. */
function hasRoomForPeer(name, weights, folder) {
  const reason = noRoom(2 * weights, folder);
  if (reason !== null) say(`${name}: llama.cpp is not compared: ${reason}`);
  return reason === null;
}

/** @returns whether it is there */
async function makeModel(path, name, sparsity, weights, failed) {
  const reason = noRoom(weights, dirname(path));
  if (reason !== null) {
    say(`${name}, sparsity ${sparsity}, is left out: ${reason}`);
    return false;
  }
  const activity =
    sparsity === 0
      ? ["--activation", "silu"]
      : ["--sparsity", String(sparsity), "--predictor-rank", String(PREDICTOR_RANK)];
  say(`making ${path}, sparsity ${sparsity}`);
  const synth = ["synth", path, "--preset", MODELS[name], ...activity, "--no-measure", "--force"];
  if ((await run(process.execPath, [join(ROOT, "dist/coordinator/main.js"), ...synth])) !== 0) {
    if (!interrupted) failed.push(`making ${name} with sparsity ${sparsity}`);
    return false;
  }
  say(`made ${(statSync(path).size / GIB).toFixed(1)} GiB`);
  return true;
}

async function measure(what, paths, options, results, failed) {
  const { kind, model, sparsity, budgetGiB, peer } = what;
  const { PEER_LAYERS } = await import(join(ROOT, "dist/bench/versus.js"));
  const name = `${kind}, ${model}, sparsity ${sparsity}, ${budgetGiB} GiB${peer === null ? "" : `, beside ${peer}`}`;
  say(name);
  const layers = knownLayers(results.lines, what, PEER_LAYERS);
  const args = benchArgs(what, paths, layers, options);
  const json = await output(process.execPath, [join(ROOT, "dist/bench/main.js"), ...args]);
  if (interrupted) return;
  if (json === null) {
    failed.push(peer === null ? name : `${name} (--no-peer measures us alone)`);
    return;
  }
  const report = JSON.parse(json);
  results.add(what, report);
  for (const { name: figure, value, unit } of report.sections.flatMap(({ figures }) => figures)) {
    if (unit === "tokens/s" || unit === "×" || figure === PEER_LAYERS)
      process.stdout.write(`${name}: ${figure}: ${value.toFixed(2)} ${unit}\n`);
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
