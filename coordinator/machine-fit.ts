/** A machine's description from the timing records of steps whose layers were placed in different ways. */
import type { Schedule, WeightType } from "../native/index.js";
import { nonNegativeLeastSquares } from "./least-squares.js";
import type { Model } from "./model/model.js";
import { MACHINE_FORMAT, type PlacementMachine, type Stage } from "./placement/machine.js";
import type { KnownMachine } from "./placement/plan-cache.js";
import type { PlacementExecutor } from "./placement/schedule.js";
import type { TimingRecord } from "./telemetry/step-records.js";

export interface MeasuredStep {
  schedule: Schedule;
  startNs: number;
  endNs: number;
  /** From the end of the step before it to its start, where the coordinator samples and plans. */
  turnNs: number;
  records: readonly TimingRecord[];
}

export interface Measured {
  model: Pick<Model, "shape" | "tensors">;
  executors: readonly PlacementExecutor[];
  cpu: string;
}

type Side = "gpu" | "cpu";

/** One layer of one step. */
interface LayerTimes {
  layer: number;
  owner: Side;
  ownEndNs: number;
  mergeEndNs: number;
  startNs: number;
  half: Record<Side, { startNs: number; endNs: number; bytes: number } | null>;
}

export function fitMachine(
  steps: readonly MeasuredStep[],
  { model, executors, cpu }: Measured,
): KnownMachine {
  const sideOf = (executor: number): Side => executors[executor]?.kind ?? "cpu";
  const layers = steps.map((step) => layersOf(step, sideOf));
  const halves = { gpu: fitHalf("gpu", steps, layers), cpu: fitHalf("cpu", steps, layers) };
  // Together each goes at this share of its own speed.
  const slowed = (halves.gpu.lostShare + halves.cpu.lostShare) / 2;
  const contention = Math.min(1, Math.max(0, 1 / Math.max(1 - slowed, 0.5) - 1));
  const executor = executors.find(({ kind }) => kind === "gpu");
  const side = (kind: Side) => {
    const { startNs, nsPerByte } = halves[kind];
    const bytesPerS = 1e9 / nsPerByte;
    const share = (stage: Stage) => {
      const rate =
        stageBytesPerS(steps, kind, stage, sideOf) ?? stageBytesPerS(steps, kind, "attention", sideOf);
      return rate === null ? 1 : rate / bytesPerS;
    };
    const kernel = (stage: Stage, tensor: string) => ({
      type: typeOf(model, tensor),
      stage,
      share: share(stage),
    });
    return {
      name: kind === "cpu" ? cpu : (executor?.card ?? executor?.device ?? "gpu"),
      bytesPerS,
      kernels: [
        kernel("attention", "blk.0.attn_q.weight"),
        kernel("predict", "blk.0.fc1.weight"),
        kernel("head", "output.weight"),
        { type: "any" as const, stage: "attention" as const, share: share("attention") },
        { type: "any" as const, stage: "predict" as const, share: share("predict") },
        { type: "any" as const, stage: "head" as const, share: share("head") },
        { type: "any" as const, stage: "neurons" as const, share: 1 },
      ],
      startUs: startNs / 1e3,
    };
  };
  const gpu = executors.find(({ kind }) => kind === "gpu");
  const expected = (times: LayerTimes) => {
    const [hot, cold] = (["gpu", "cpu"] as const).map((kind) => {
      const bytes = times.half[kind]?.bytes ?? null;
      return bytes === null ? 0 : halves[kind].startNs + bytes * halves[kind].nsPerByte;
    });
    return Math.max(hot ?? 0, cold ?? 0) + contention * Math.min(hot ?? 0, cold ?? 0);
  };
  const foreign = (times: LayerTimes) => times.half[times.owner === "gpu" ? "cpu" : "gpu"] !== null;
  const handOvers = alikeMedians(layers, steps, (times) =>
    foreign(times) ? times.mergeEndNs - times.ownEndNs - expected(times) : null,
  );
  const machine: PlacementMachine = {
    format: MACHINE_FORMAT,
    name: cpu,
    source: "measured",
    note: `over ${steps.length} steps of this model's first ${model.shape.layers} layers`,
    gpu: { ...side("gpu"), memoryBytes: Math.max(1, gpu?.budgetBytes ?? 1), reserveBytes: 0 },
    cpu: side("cpu"),
    handOverUs: Math.max(0, mean(handOvers)) / 1e3,
    residualUs: Math.max(0, median(layers.flatMap(residualNs))) / 1e3,
    stepUs:
      (Math.max(0, median(steps.map((step, index) => outsideNs(step, layers[index] ?? [])))) +
        median(steps.map(({ turnNs }) => turnNs))) /
      1e3,
    contention,
  };
  return { machine, uniformShare: activeShare(steps, model) };
}

function layersOf({ records }: MeasuredStep, sideOf: (executor: number) => Side): LayerTimes[] {
  const found = new Map<number, TimingRecord[]>();
  for (const record of records) {
    if (record.layer >= 0) found.set(record.layer, [...(found.get(record.layer) ?? []), record]);
  }
  return [...found].flatMap(([layer, own]): LayerTimes[] => {
    const attention = own.find(({ phase }) => phase === "attention");
    const merge = own.find(({ phase }) => phase === "merge");
    if (attention === undefined || merge === undefined) return [];
    const predict = own.find(({ phase }) => phase === "predict");
    // Several CPU executors at once are one half, which ends with the last of them.
    const half = (phase: "hot" | "cold") => {
      const parts = own.filter((record) => record.phase === phase);
      if (parts.length === 0) return null;
      return {
        startNs: Math.min(...parts.map(({ startNs }) => startNs)),
        endNs: Math.max(...parts.map(({ endNs }) => endNs)),
        bytes: parts.reduce((sum, { bytes }) => sum + bytes, 0),
      };
    };
    return [
      {
        layer,
        owner: sideOf(attention.executor),
        startNs: attention.startNs,
        ownEndNs: (predict ?? attention).endNs,
        mergeEndNs: merge.endNs,
        half: { gpu: half("hot"), cpu: half("cold") },
      },
    ];
  });
}

/** A half's time: its start, its bytes, and what the other half takes away while both run. */
function fitHalf(kind: Side, steps: readonly MeasuredStep[], layers: readonly LayerTimes[][]) {
  const other = kind === "gpu" ? "cpu" : "gpu";
  const points = alike(layers, steps).flatMap((times) => {
    const observed = times.flatMap(({ half }) => {
      const [own, peer] = [half[kind], half[other]];
      if (own === null) return [];
      const overlap =
        peer === null ? 0 : Math.min(own.endNs, peer.endNs) - Math.max(own.startNs, peer.startNs);
      return [{ ns: own.endNs - own.startNs, bytes: own.bytes, overlap: Math.max(0, overlap) }];
    });
    if (observed.length === 0) return [];
    const of = (get: (point: (typeof observed)[number]) => number) => median(observed.map(get));
    return [
      { ns: of(({ ns }) => ns), bytes: of(({ bytes }) => bytes), overlap: of(({ overlap }) => overlap) },
    ];
  });
  const [startNs = 0, nsPerByte = 0, lostShare = 0] = nonNegativeLeastSquares(
    points.map(({ bytes, overlap }) => [1, bytes, overlap]),
    points.map(({ ns }) => ns),
  );
  const [ns, bytes] = [sum(points.map((point) => point.ns)), sum(points.map((point) => point.bytes))];
  if (nsPerByte > 0) return { startNs, nsPerByte, lostShare };
  // All layers read about the same: bytes alone explain it.
  return { startNs: 0, nsPerByte: ns / Math.max(bytes, 1) || 1, lostShare: 0 };
}

/** The observations of each layer in each placement. */
function alike(layers: readonly LayerTimes[][], steps: readonly MeasuredStep[]): LayerTimes[][] {
  const groups = new Map<string, LayerTimes[]>();
  const schedules = [...new Set(steps.map(({ schedule }) => schedule))];
  for (const [index, step] of steps.entries()) {
    for (const times of layers[index] ?? []) {
      const key = `${schedules.indexOf(step.schedule)} ${times.layer}`;
      groups.set(key, [...(groups.get(key) ?? []), times]);
    }
  }
  return [...groups.values()];
}

function alikeMedians(
  layers: readonly LayerTimes[][],
  steps: readonly MeasuredStep[],
  of: (times: LayerTimes) => number | null,
): number[] {
  return alike(layers, steps).flatMap((group) => {
    const values = group.flatMap((times) => of(times) ?? []);
    return values.length === 0 ? [] : [median(values)];
  });
}

function residualNs(layers: readonly LayerTimes[]): number[] {
  return layers.flatMap((next, index) => {
    const before = layers[index - 1];
    return before === undefined || before.owner === next.owner ? [] : [next.startNs - before.mergeEndNs];
  });
}

/** Of a step outside its layers and its head. */
function outsideNs({ startNs, endNs, records }: MeasuredStep, layers: readonly LayerTimes[]): number {
  const inside = sum(layers.map((times) => times.mergeEndNs - times.startNs));
  const head = sum(
    records.filter(({ phase }) => phase === "head").map((record) => record.endNs - record.startNs),
  );
  return endNs - startNs - inside - head - sum(residualNs(layers));
}

function stageBytesPerS(
  steps: readonly MeasuredStep[],
  kind: Side,
  stage: Stage,
  sideOf: (executor: number) => Side,
): number | null {
  const records = steps.flatMap((step) =>
    step.records.filter(
      ({ phase, executor, bytes }) => phase === stage && sideOf(executor) === kind && bytes > 0,
    ),
  );
  if (records.length === 0) return null;
  return 1e9 / median(records.map(({ startNs, endNs, bytes }) => (endNs - startNs) / bytes));
}

function activeShare(steps: readonly MeasuredStep[], { shape }: Measured["model"]): number {
  const active = sum(
    steps.flatMap(({ records }) =>
      records.filter(({ phase }) => phase === "hot" || phase === "cold").map((record) => record.active),
    ),
  );
  return Math.min(1, active / Math.max(1, steps.length * shape.layers * shape.ff));
}

function typeOf({ tensors }: Measured["model"], name: string): WeightType | "any" {
  const found = tensors.find((tensor) => tensor.name === name);
  return (
    found?.type ??
    (name === "output.weight" ? typeOf({ tensors } as Measured["model"], "token_embd.weight") : "any")
  );
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

function mean(values: readonly number[]): number {
  return values.length === 0 ? 0 : sum(values) / values.length;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted.length === 0
    ? 0
    : ((sorted[(sorted.length - 1) >> 1] ?? 0) + (sorted[sorted.length >> 1] ?? 0)) / 2;
}
