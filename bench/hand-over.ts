/**
 * What handing a layer from one executor to another takes, one way: from the moment that data is ready on one side to
 * the moment that the other side, which already waits for it, goes on. Taken from timing records, whose clock is
 * common to all processes, so that it includes what it takes to write the record itself.
 */
import { type Benchmark, type Figure, latencyFigures } from "./benchmark.js";
import { contendingCard, GREEDY, stackOptions, withStacks } from "./stack-under-test.js";
import { distribution } from "./statistics.js";
import { type TimingRecord, timingRecords } from "./timing-records.js";

/** From then on a wait is parked: `kSpinNs` of native/engine/spin.h. */
export const SPIN_NS = 50_000;

export const handOver: Benchmark = async (context) => {
  const { runs, tokens, progress, signal } = context;
  return withStacks([stackOptions(context, contendingCard(context))], async (stacks) => {
    const layers: LayerHandOver[] = [];
    for (const stack of stacks) {
      await stack.generate({ prompt: stack.prompt, tokens, sampling: GREEDY, signal });
      for (let run = 0; run < runs; run++) {
        progress(`hand-over: turn ${run + 1} of ${runs}`);
        const { steps } = await stack.generate({ prompt: stack.prompt, tokens, sampling: GREEDY, signal });
        for (const step of steps) layers.push(...layerHandOvers(timingRecords(step)));
      }
    }
    return figures(layers);
  });
};

/** One way of a hand-over. */
export interface OneWay {
  /** From ready to received; 0 when the receiver came later and found it there. */
  ns: number;
  /** Whether the receiver was there first. */
  awaited: boolean;
  /** How long the receiver waited, work of the sender included. */
  waitedNs: number;
}

export interface LayerHandOver {
  /** The FFN's input and the active set, from the owner to each peer. */
  inputs: OneWay[];
  /** The last peer's partial sum, to the owner. */
  partial: OneWay;
}

/** The layers of one step that several executors share. @param records of that step */
export function layerHandOvers(records: readonly TimingRecord[]): LayerHandOver[] {
  const layers = new Set(records.map(({ layer }) => layer).filter((layer) => layer >= 0));
  return [...layers].flatMap((layer) => {
    const found = layerHandOver(records.filter((record) => record.layer === layer));
    return found === null ? [] : [found];
  });
}

/** Null for a layer that one executor has to itself, or of which records were lost. */
function layerHandOver(records: readonly TimingRecord[]): LayerHandOver | null {
  const owner = records.find(({ phase }) => phase === "attention")?.executor;
  const owned = records.filter(({ executor }) => executor === owner);
  const input = owned.findLast(({ phase }) => phase === "attention" || phase === "predict");
  // Before its attention the owner may have waited for the residual.
  const collect = owned.findLast(({ phase }) => phase === "wait");
  const peers = records.filter(({ executor }) => executor !== owner);
  const receives = peers.filter(({ phase }) => phase === "wait");
  const partials = peers.filter(({ phase }) => phase === "hot" || phase === "cold");
  if (input === undefined || collect === undefined || receives.length === 0) return null;
  if (partials.length !== receives.length) return null;
  return {
    inputs: receives.map((wait) => oneWay(input.endNs, wait)),
    partial: oneWay(Math.max(...partials.map(({ endNs }) => endNs)), collect),
  };
}

function oneWay(readyNs: number, wait: TimingRecord): OneWay {
  const awaited = wait.startNs <= readyNs;
  return { ns: awaited ? wait.endNs - readyNs : 0, awaited, waitedNs: wait.endNs - wait.startNs };
}

function figures(layers: readonly LayerHandOver[]): Figure[] {
  const inputs = layers.flatMap((layer) => layer.inputs);
  const partials = layers.map((layer) => layer.partial);
  const sums = layers.map(({ inputs, partial }) => Math.max(...inputs.map(({ ns }) => ns)) + partial.ns);
  return [
    ...direction("hand-over of a layer's input", inputs),
    ...direction("hand-over of a partial sum", partials),
    ...latencyFigures("hand-over a layer, both ways", "µs", distribution(sums.map((ns) => ns / 1e3))),
  ];
}

function direction(name: string, all: readonly OneWay[]): Figure[] {
  const awaited = all.filter((one) => one.awaited);
  const parked = awaited.filter(({ waitedNs }) => waitedNs > SPIN_NS);
  const spun = awaited.filter(({ waitedNs }) => waitedNs <= SPIN_NS);
  const share = (name: string, some: readonly OneWay[], of: readonly OneWay[]): Figure => ({
    name,
    value: of.length === 0 ? 0 : (100 * some.length) / of.length,
    unit: "%",
    quartiles: null,
    count: of.length,
  });
  const latencies = (name: string, some: readonly OneWay[]) =>
    some.length === 0 ? [] : latencyFigures(name, "µs", distribution(some.map(({ ns }) => ns / 1e3)));
  return [
    ...latencies(name, awaited),
    ...latencies(`${name}, while spinning`, spun),
    ...latencies(`${name}, parked`, parked),
    share(`${name}: receiver was there first`, awaited, all),
    share(`${name}: of these, parked`, parked, awaited),
  ];
}
