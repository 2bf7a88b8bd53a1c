/**
 * How often neurons fire, and the groups they are placed in.
 *
 * With a profile a neuron's heat is its count. Without one every neuron of the model is taken to fire equally often, and
 * groups are the layers' neurons in order: which of them are hot cannot be known, and nothing is pretended.
 */
import type { Model } from "../model/model.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import type { Profile } from "./profile.js";

/** Engines divide the neurons of a down-projection stored one row an output by blocks of at least this many. */
const LEAST_NEURONS_PER_BLOCK = 32;

/** Neurons of one layer, in groups from the hottest on. */
export interface LayerHeat {
  /** Every neuron once, hottest first; those of a block stay together. */
  order: Uint32Array;
  /** Neurons of each group. All but the last are of one size. */
  sizes: number[];
  /** Expected active neurons of each group, per token. */
  active: number[];
  /** Neurons of each group whose part of the down-projection is expected to be read: with blocks, all of an active one. */
  downRead: number[];
}

export interface Heat {
  groupSize: number;
  layers: LayerHeat[];
  /** Where the rates come from. */
  source: "profile" | "uniform";
}

/** Neurons that share blocks of a down-projection stored one row an output, in the layer with the largest blocks. */
export function neuronsPerBlock(model: Pick<Model, "tensors">): number {
  const downs = model.tensors.filter(({ name }) => name.endsWith(".ffn_down.weight"));
  return Math.max(LEAST_NEURONS_PER_BLOCK, ...downs.map(({ type }) => WEIGHT_TYPES[type].blockSize));
}

/**
 * @param groupSize neurons placed together; rounded up to whole blocks where those must stay together
 * @param uniformShare the share of neurons that fire, taken for each of them where there is no profile
 */
export function heatOf(
  model: Pick<Model, "tensors" | "shape" | "downTransposed">,
  profile: Profile | null,
  groupSize: number,
  uniformShare: number,
): Heat {
  const { layers, ff, activation } = model.shape;
  const unit = model.downTransposed ? 1 : neuronsPerBlock(model);
  const size = Math.ceil(groupSize / unit) * unit;
  const rates = (layer: number): Float64Array => {
    const counts = profile?.counts[layer];
    if (activation === "silu") return new Float64Array(ff).fill(1);
    if (profile === null || counts === undefined) return new Float64Array(ff).fill(uniformShare);
    return Float64Array.from(counts, (count) => Math.min(1, count / Math.max(profile.tokens, 1)));
  };
  return {
    groupSize: size,
    layers: Array.from({ length: layers }, (_, layer) =>
      layerHeat(rates(layer), profile?.counts[layer], { unit, size }),
    ),
    source: profile === null || activation === "silu" ? "uniform" : "profile",
  };
}

/** @param counts what the order goes by: finer than rates, which end at 1 */
function layerHeat(
  rates: Float64Array,
  counts: Float32Array | undefined,
  { unit, size }: { unit: number; size: number },
): LayerHeat {
  const ff = rates.length;
  const units = Math.ceil(ff / unit);
  const sum = (values: ArrayLike<number>, from: number, to: number) => {
    let total = 0;
    for (let i = from; i < Math.min(to, ff); i++) total += values[i] ?? 0;
    return total;
  };
  // The mean, since the last block may be smaller.
  const heat = Float64Array.from({ length: units }, (_, index) => {
    const first = index * unit;
    return sum(counts ?? rates, first, first + unit) / (Math.min(first + unit, ff) - first);
  });
  const ranked = Array.from({ length: units }, (_, index) => index);
  // A smaller last block last: groups before it are then of one size, and cost the same memory.
  const whole = Math.floor(ff / unit);
  ranked.sort((a, b) => Number(a >= whole) - Number(b >= whole) || (heat[b] ?? 0) - (heat[a] ?? 0) || a - b);
  const order = new Uint32Array(ff);
  let at = 0;
  for (const index of ranked) {
    for (let neuron = index * unit; neuron < Math.min((index + 1) * unit, ff); neuron++) order[at++] = neuron;
  }
  const sizes: number[] = [];
  const active: number[] = [];
  const downRead: number[] = [];
  for (let first = 0; first < ff; first += size) {
    const members = order.subarray(first, first + size);
    sizes.push(members.length);
    active.push(members.reduce((total, neuron) => total + (rates[neuron] ?? 0), 0));
    downRead.push(expectedRead(members, rates, unit));
  }
  return { order, sizes, active, downRead };
}

/** Neurons in blocks of which at least one member fires, as if they fired independently of each other. */
function expectedRead(members: Uint32Array, rates: Float64Array, block: number): number {
  let read = 0;
  for (let first = 0; first < members.length; first += block) {
    const together = members.subarray(first, first + block);
    const silent = together.reduce((product, neuron) => product * (1 - (rates[neuron] ?? 0)), 1);
    read += together.length * (1 - silent);
  }
  return read;
}
