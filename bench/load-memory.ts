/** Memory of a server that has answered one request, beside what it cannot do without. */
import type { Model } from "../coordinator/model/model.js";
import { planFor } from "../coordinator/placement/planner.js";
import { enginePlan } from "../coordinator/placement/schedule.js";
import { DEFAULT_SLOTS, limitsFor } from "../coordinator/serving-defaults.js";
import { memoryNeeds } from "../native/index.js";
import { type BenchmarkContext, type Figure, singleFigure } from "./benchmark.js";
import { peerOnce, serveOnce } from "./from-scratch.js";
import { watchMemory } from "./memory-watch.js";
import type { PeerModel } from "./peer-model.js";
import { commandOf } from "./process-tree.js";

const MIB = 1024 ** 2;

/** Taken from a turn of its own, since looking takes time. */
export async function ownMemory(
  context: BenchmarkContext,
  model: Model,
  prompt: readonly number[],
): Promise<Figure[]> {
  const limits = limitsFor(model, { slots: DEFAULT_SLOTS, contextLength: null });
  const placed = [
    { kind: "cpu", device: "cpu", card: null, budgetBytes: 0, threads: context.threads },
  ] as const;
  const schedule = await planFor(placed, {
    ...{ model, sizes: limits, profile: null, placementPath: null, cacheFolder: null },
    log: { info: () => undefined, warn: () => undefined },
  });
  const { kvCacheBytes } = memoryNeeds(enginePlan(model, schedule, 0, limits), {
    residency: "mapped",
    budgetBytes: 0,
    threads: context.threads,
    pinTo: [],
    instructionSet: null,
    library: null,
  });
  const [all, executors] = await peaksDuring(
    [isOther, (pid) => isOther(pid) && commandOf(pid).includes("-executor/main.js")],
    context,
    () => serveOnce(context, prompt, context.tokens),
  );
  return [
    singleFigure("model file", "MiB", model.fileBytes / MIB),
    singleFigure(`KV cache of ${limits.slots} times ${limits.contextLength}`, "MiB", kvCacheBytes / MIB),
    singleFigure("peak memory of all processes, --gpu off", "MiB", all / MIB),
    singleFigure("peak memory of the executors, --gpu off", "MiB", executors / MIB),
    singleFigure(
      "that against model and KV cache, --gpu off",
      "%",
      (100 * executors) / (model.fileBytes + kvCacheBytes),
    ),
  ];
}

export async function peerMemory(
  context: BenchmarkContext,
  peer: PeerModel,
  prompt: readonly number[],
): Promise<Figure> {
  const [all] = await peaksDuring([isOther], context, () => peerOnce(context, peer, prompt, context.tokens));
  return singleFigure("peak memory, llama.cpp", "MiB", all / MIB);
}

/** Everything below this process and not it: one contender, since they are started one after the other. */
function isOther(pid: number): boolean {
  return pid !== process.pid;
}

/** Peaks of the memory of those that each of `among` picks. */
async function peaksDuring<const T extends readonly ((pid: number) => boolean)[]>(
  among: T,
  { progress }: BenchmarkContext,
  work: () => Promise<unknown>,
): Promise<{ [K in keyof T]: number }> {
  progress("load: looking at the memory");
  const watches = among.map((counts) => watchMemory(process.pid, counts));
  const stopped = () => watches.map((watch) => watch.stop()) as { [K in keyof T]: number };
  try {
    await work();
  } catch (error) {
    stopped();
    throw error;
  }
  return stopped();
}
