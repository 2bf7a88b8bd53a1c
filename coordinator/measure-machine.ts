/**
 * What this machine does with a model, found by running the model's first layers on executors of its own: all hot, all
 * cold and split in several ways, so that rates, starts, hand-overs and what two sides take from each other can be told
 * apart.
 */
import { machine as findMachine, type Schedule } from "../native/index.js";
import { BUILT_ENTRIES, type ExecutorEntries, type ExecutorOptions, withExecutors } from "./execution.js";
import { createLog } from "./log.js";
import { fitMachine, type MeasuredStep } from "./machine-fit.js";
import { measureSteps } from "./measure-steps.js";
import type { Model } from "./model/model.js";
import { bytesOf, WEIGHT_TYPES } from "./model/tensor-types.js";
import { loadTokenizer } from "./model/tokenizer/load-tokenizer.js";
import { heatOf } from "./placement/heat.js";
import type { KnownMachine } from "./placement/plan-cache.js";
import type { Choice, LayerChoice } from "./placement/problem.js";
import type { Profile } from "./placement/profile.js";
import { type PlacementExecutor, scheduleOf } from "./placement/schedule.js";

/** Layers are measured until they are more than caches hold, and until each way to place one was tried. */
const ENOUGH_BYTES = 256 * 1024 ** 2;
const ENOUGH_LAYERS = 6;
const TOKENS = 40;
/** The first of them find cold caches and sleeping threads. */
const WARM_UP_TOKENS = 8;
const GROUP_SIZE = 64;

/** Owner and share of hot groups, layer after layer. */
const PATTERN: readonly (readonly [LayerChoice["owner"], number])[] = [
  ["gpu", 1],
  ["gpu", 0.5],
  ["cpu", 0],
  ["cpu", 0.25],
  ["gpu", 0.75],
  ["gpu", 0],
];

export interface MeasureMachineOptions {
  model: Model;
  profile: Profile | null;
  options: ExecutorOptions;
  entries?: ExecutorEntries;
  onStage: (text: string) => void;
  signal: AbortSignal;
}

/** @throws ThermoclineError as executors do, or the signal's reason */
export async function measureMachine({
  model,
  profile,
  options,
  entries = BUILT_ENTRIES,
  onStage,
  signal,
}: MeasureMachineOptions): Promise<KnownMachine> {
  const cut = firstLayers(model);
  const tokenizer = loadTokenizer(model.file);
  const { vocab } = model.shape;
  const steps: MeasuredStep[] = [];
  let executors: readonly PlacementExecutor[] = [];
  // Twice, so that every layer is placed in two ways, and the head on either side.
  for (const round of [0, 1]) {
    onStage(`measuring ${cut.shape.layers} layers on the executors, ${round + 1} of 2`);
    const schedule = (infos: readonly PlacementExecutor[]): Schedule => {
      executors = infos;
      const heat = heatOf(cut, profile, GROUP_SIZE, 1);
      const layers = heat.layers.map(({ sizes }, layer): LayerChoice => {
        const [owner, share] = PATTERN[(layer + 3 * round) % PATTERN.length] ?? ["gpu", 1];
        return { owner, hot: Math.round(share * sizes.length) };
      });
      const choice: Choice = { layers, head: round === 0 ? "cpu" : "gpu" };
      return scheduleOf(cut, heat, choice, infos);
    };
    const limits = { maxRows: 1, maxLogitRows: 1, slots: 1, contextLength: TOKENS + 1 };
    const log = createLog("measure", "warn");
    // Room for what is measured: whether the whole placement fits is another question.
    const isSimulated = options.gpu === "host" || options.gpu === "emulated";
    const roomy = isSimulated ? { ...options, vramBudgetBytes: 2 * model.fileBytes + ENOUGH_BYTES } : options;
    await withExecutors(
      {
        ...{ model: cut, options: roomy, limits, profile, entries, log, signal },
        observation: "none",
        onState: () => undefined,
        plan: schedule,
      },
      async (group) => {
        const measured = await measureSteps(group, { tokenizer, vocab, count: TOKENS, signal });
        steps.push(...measured.slice(WARM_UP_TOKENS));
      },
    );
  }
  return fitMachine(steps, { model: cut, executors, cpu: findMachine().cpu });
}

/** The model as if it had no more than its first layers. */
function firstLayers(model: Model): Model {
  const bytes = model.tensors
    .filter(({ name }) => name.startsWith("blk.0."))
    .reduce((sum, { type, rows, cols }) => sum + bytesOf(WEIGHT_TYPES[type], rows * cols), 0);
  const layers = Math.min(model.shape.layers, Math.max(ENOUGH_LAYERS, Math.ceil(ENOUGH_BYTES / bytes)));
  const layerOf = (name: string) => Number(/^blk\.(\d+)\./.exec(name)?.[1] ?? -1);
  return {
    ...model,
    shape: { ...model.shape, layers },
    tensors: model.tensors.filter(({ name }) => layerOf(name) < layers),
  };
}
