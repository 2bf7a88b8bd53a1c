/** What a profile says of a model's sparsity: how few neurons most of its activations come from. */
import type { ActivationProfile, ProfileSource } from "./activation-profile.js";

/** Hot neurons are the fewest that carry this share of all activations; PowerInfer's paper draws the line there. */
export const HOT_SHARE = 0.8;

export interface LayerActivity {
  layer: number;
  /** Mean share of its neurons that fire for a token. */
  firing: number;
  /** Share of its neurons that carry {@link HOT_SHARE} of its activations. */
  hot: number;
}

/** How much two texts have in common. */
export interface Overlap {
  texts: readonly [string, string];
  /** Hot neurons of both texts over those of either (Jaccard's index): 1 for the same, 0 for none in common. */
  jaccard: number;
  /** Of the second text's activations, the share that the first one's hot neurons carry, and the other way round. */
  carried: readonly [number, number];
}

export interface ProfileSummary {
  tokens: number;
  /** Mean share of all neurons that fire for a token. */
  firing: number;
  /** Share of all neurons that carry {@link HOT_SHARE} of all activations. */
  hot: number;
  layers: LayerActivity[];
  /** Of every two sources. */
  overlaps: Overlap[];
}

export function summarize(profile: ActivationProfile): ProfileSummary {
  const { tokens, sources } = profile;
  const { layers, ff } = profile.shape;
  const totals = profile.totals();
  const activity = (counts: Float32Array) => ({
    firing: sumOf(counts) / (tokens * counts.length),
    hot: neuronsFor(hottestFirst(counts), HOT_SHARE) / counts.length,
  });
  return {
    tokens,
    ...activity(totals),
    layers: Array.from({ length: layers }, (_, layer) => ({
      layer,
      ...activity(totals.subarray(layer * ff, (layer + 1) * ff)),
    })),
    overlaps: overlapsOf(sources),
  };
}

/** Counts in falling order. */
function hottestFirst(counts: Float32Array): Float32Array {
  return counts.slice().sort().reverse();
}

/** How one set of neurons shares out its activations, to be drawn. */
export interface Curve {
  /** Growing shares of the neurons, hottest first, from 0 to 1. */
  neurons: Float64Array;
  /** The share of all activations that they carry. */
  activations: Float64Array;
}

/** Most pieces of a curve. */
const CURVE_PIECES = 160;

/** @param counts of which at least one is not 0 */
export function curveOf(counts: Float32Array): Curve {
  const falling = hottestFirst(counts);
  const total = sumOf(falling);
  const pieces = Math.min(CURVE_PIECES, falling.length);
  const neurons = new Float64Array(pieces + 1);
  const activations = new Float64Array(pieces + 1);
  let sum = 0;
  let counted = 0;
  for (let piece = 1; piece <= pieces; piece++) {
    // Ever longer ones: the curve bends where the hottest are.
    const end = Math.max(counted + 1, Math.round(falling.length * (piece / pieces) ** 2));
    for (; counted < end; counted++) sum += falling[counted] ?? 0;
    neurons[piece] = counted / falling.length;
    activations[piece] = sum / total;
  }
  return { neurons, activations };
}

/** The fewest counts, from the first on, that make up `share` of all; 0 where nothing was counted. */
function neuronsFor(falling: Float32Array, share: number): number {
  const wanted = share * sumOf(falling);
  let sum = 0;
  for (const [neuron, count] of falling.entries()) {
    if (sum >= wanted) return neuron;
    sum += count;
  }
  return falling.length;
}

/** Neurons by falling counts, equal ones in their order, as far as they are hot. */
export function hotNeurons(counts: Float32Array): Uint32Array {
  const order = Uint32Array.from(counts.keys());
  order.sort((a, b) => (counts[b] ?? 0) - (counts[a] ?? 0) || a - b);
  return order.subarray(0, neuronsFor(hottestFirst(counts), HOT_SHARE));
}

function overlapsOf(sources: readonly ProfileSource[]): Overlap[] {
  const read = sources.filter(({ tokens }) => tokens > 0);
  const sets = read.map(({ name, counts }) => ({
    name,
    counts,
    total: sumOf(counts),
    hot: new Set(hotNeurons(counts)),
  }));
  return sets.flatMap((a, index) =>
    sets.slice(index + 1).map((b) => {
      const shared = [...a.hot].filter((neuron) => b.hot.has(neuron)).length;
      const carried = (of: typeof a, by: typeof a) =>
        [...by.hot].reduce((sum, neuron) => sum + (of.counts[neuron] ?? 0), 0) / of.total;
      return {
        texts: [a.name, b.name] as const,
        jaccard: shared / (a.hot.size + b.hot.size - shared),
        carried: [carried(b, a), carried(a, b)] as const,
      };
    }),
  );
}

/** In double precision: counts of a large model add up to more than a 32-bit float can tell apart. */
function sumOf(counts: Float32Array): number {
  let sum = 0;
  for (const count of counts) sum += count;
  return sum;
}
