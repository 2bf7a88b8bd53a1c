/**
 * Which neurons should change places, by how often they fired lately.
 *
 * An exchange keeps the number of a layer's neurons on every executor, and then the best placement is known without
 * solving anything: a layer's most often fired neurons on the GPU executor, as many as lie there. Pairing its least often
 * fired neuron with the most often fired one elsewhere, the next with the next, and so on, leads there by the fewest
 * moves, each pair bringing less than the one before.
 */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { LayerExchange, Schedule } from "../../native/index.js";

/** Firing counts of lately observed rows, by layer; they need not be whole. */
export type LayerFirings = readonly ArrayLike<number>[];

export interface ExchangeLimits {
  /** Bytes of a neuron's weights, by layer; 0 for a layer whose neurons stay. */
  neuronBytes: readonly number[];
  /** Most bytes to be moved, both ways together. */
  mostBytes: number;
}

/** A pair must differ by this factor, so that neurons which fire alike do not go back and forth for nothing. */
const LEAST_RATIO = 1.25;
/** And by so many standard deviations of the difference, which for counts of rare events is the root of their sum. */
const LEAST_DEVIATIONS = 3;

interface Pair {
  layer: number;
  hot: number;
  cold: number;
  /** Firings that the GPU executor would serve in addition. */
  gain: number;
}

/**
 * The pairs that bring most, within the limits; empty when nothing is worth moving. Of 32 layers of 11,008 neurons it takes
 * some 20 ms of this thread, and lets others have it after every layer.
 */
export async function chooseExchanges(
  schedule: Schedule,
  firings: LayerFirings,
  { neuronBytes, mostBytes }: ExchangeLimits,
): Promise<LayerExchange[]> {
  const gpu = schedule.executors.indexOf("gpu");
  if (gpu < 0) return [];
  const pairs: Pair[] = [];
  for (const [layer, { neuronOwner }] of schedule.layers.entries()) {
    const bytes = neuronBytes[layer] ?? 0;
    const counts = firings[layer];
    if (bytes === 0 || counts === undefined) continue;
    await nextTurn();
    pairs.push(...pairsOf(layer, neuronOwner, counts, gpu, Math.floor(mostBytes / (2 * bytes))));
  }
  return grouped(withinBytes(pairs, neuronBytes, mostBytes));
}

/** A layer's pairs that are worth moving, best first. */
function pairsOf(
  layer: number,
  neuronOwner: Uint8Array,
  counts: ArrayLike<number>,
  gpu: number,
  most: number,
): Pair[] {
  const hot = new Extremes(most);
  const cold = new Extremes(most);
  for (let neuron = 0; neuron < neuronOwner.length; neuron++) {
    const count = counts[neuron] ?? 0;
    if (neuronOwner[neuron] === gpu) hot.offer(neuron, -count);
    else cold.offer(neuron, count);
  }
  const pairs: Pair[] = [];
  for (const [i, incoming] of cold.items.entries()) {
    const outgoing = hot.items[i];
    if (outgoing === undefined || !isWorthIt(incoming.value, -outgoing.value)) break;
    pairs.push({ layer, hot: outgoing.neuron, cold: incoming.neuron, gain: incoming.value + outgoing.value });
  }
  return pairs;
}

function isWorthIt(cold: number, hot: number): boolean {
  return cold > LEAST_RATIO * hot && cold - hot > LEAST_DEVIATIONS * Math.sqrt(cold + hot);
}

function withinBytes(pairs: Pair[], neuronBytes: readonly number[], mostBytes: number): Pair[] {
  // A neuron saves its bytes as often as it fires, and takes as many of the limit: what a byte brings is its firings.
  pairs.sort((a, b) => b.gain - a.gain || a.layer - b.layer || a.cold - b.cold);
  let left = mostBytes;
  return pairs.filter(({ layer }) => {
    left -= 2 * (neuronBytes[layer] ?? 0);
    return left >= 0;
  });
}

function grouped(pairs: readonly Pair[]): LayerExchange[] {
  const layers = new Map<number, Pair[]>();
  for (const pair of pairs) layers.set(pair.layer, [...(layers.get(pair.layer) ?? []), pair]);
  return [...layers]
    .sort(([a], [b]) => a - b)
    .map(([layer, chosen]) => ({
      layer,
      first: Uint32Array.from(chosen, ({ hot }) => hot),
      second: Uint32Array.from(chosen, ({ cold }) => cold),
    }));
}

/** The largest values offered, largest first; of equal ones those offered first. */
class Extremes {
  readonly items: { neuron: number; value: number }[] = [];
  /** What a value must exceed to be among them. */
  private least = Number.NEGATIVE_INFINITY;

  constructor(private readonly most: number) {
    if (most === 0) this.least = Number.POSITIVE_INFINITY;
  }

  offer(neuron: number, value: number): void {
    if (value <= this.least) return;
    const { items, most } = this;
    let low = 0;
    let high = items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((items[middle]?.value ?? 0) >= value) low = middle + 1;
      else high = middle;
    }
    items.splice(low, 0, { neuron, value });
    if (items.length > most) items.pop();
    if (items.length === most) this.least = items.at(-1)?.value ?? 0;
  }
}
