/** Placement problems without a model: random ones, and such as well-known models make on well-known machines. */
import type {
  Choice,
  LayerChoice,
  LayerProblem,
  Owner,
  PlacementProblem,
} from "../../coordinator/placement/problem.js";
import { Random } from "./random.js";

function prefix(values: readonly number[]): Float64Array {
  const sums = new Float64Array(values.length + 1);
  for (const [index, value] of values.entries()) sums[index + 1] = (sums[index] ?? 0) + value;
  return sums;
}

interface LayerSizes {
  groups: number;
  /** Expected active neurons of each group of 64, hottest first. */
  active: readonly number[];
  groupBytes: number;
  ownBytes: number;
  cacheBytes: number;
}

interface Rates {
  gpuBytesPerS: number;
  cpuBytesPerS: number;
  /** What reading single neurons makes of the rate. */
  gather: number;
}

function layerOf(
  { groups, active, groupBytes, ownBytes, cacheBytes }: LayerSizes,
  rates: Rates,
): LayerProblem {
  const seconds = (bytesPerS: number) =>
    active.map((each) => (groupBytes / 3 + ((each / 64) * groupBytes * 2) / 3 / rates.gather) / bytesPerS);
  const cold = prefix(seconds(rates.cpuBytesPerS).reverse());
  return {
    own: {
      gpuS: (ownBytes + cacheBytes / 2) / rates.gpuBytesPerS,
      cpuS: (ownBytes + cacheBytes / 2) / rates.cpuBytesPerS,
      gpuBytes: ownBytes + cacheBytes,
    },
    neurons: Float64Array.from({ length: groups + 1 }, (_, count) => 64 * count),
    active: prefix(active),
    hotS: prefix(seconds(rates.gpuBytesPerS)),
    coldS: Float64Array.from({ length: groups + 1 }, (_, first) => cold[groups - first] ?? 0),
    gpuBytes: Float64Array.from({ length: groups + 1 }, (_, count) => count * groupBytes),
  };
}

/** A small problem whose best placement can be found by trying them all. */
export function randomProblem(seed: number, mostLayers = 3, mostGroups = 3): PlacementProblem {
  const random = new Random(seed);
  const groupBytes = 1000 + random.integer(5000);
  const cpuBytesPerS = 1e9 * (0.5 + random.uniform());
  const rates = {
    gpuBytesPerS: cpuBytesPerS * 2 ** (6 * random.uniform() - 1),
    cpuBytesPerS,
    gather: 0.5 + random.uniform() / 2,
  };
  const layers = Array.from({ length: 1 + random.integer(mostLayers) }, () => {
    const groups = 1 + random.integer(mostGroups);
    const active = Array.from({ length: groups }, () => 64 * random.uniform()).sort((a, b) => b - a);
    const ownBytes = 1000 + random.integer(20_000);
    return layerOf({ groups, active, groupBytes, ownBytes, cacheBytes: random.integer(10_000) }, rates);
  });
  const headBytes = 1000 + random.integer(20_000);
  const whole =
    headBytes + layers.reduce((sum, { own, gpuBytes }) => sum + own.gpuBytes + (gpuBytes.at(-1) ?? 0), 0);
  return {
    layers,
    head: { gpuS: headBytes / rates.gpuBytesPerS, cpuS: headBytes / rates.cpuBytesPerS, gpuBytes: headBytes },
    budgetBytes: Math.floor(whole * 1.1 * random.uniform()),
    hotStartS: 1e-6 * random.uniform(),
    coldStartS: 1e-6 * random.uniform(),
    handOverS: 4e-6 * random.uniform(),
    residualS: 2e-6 * random.uniform(),
    contention: random.uniform() < 0.5 ? 0 : 0.4 * random.uniform(),
    coldPeers: random.uniform() < 0.3,
    stepS: 1e-6,
  };
}

const SHAPES = {
  "llama-7b": { layers: 32, embd: 4096, ff: 11_008, kvWidth: 4096 },
  "llama-33b": { layers: 60, embd: 6656, ff: 17_920, kvWidth: 6656 },
  "llama-70b": { layers: 80, embd: 8192, ff: 28_672, kvWidth: 1024 },
};
type Shape = (typeof SHAPES)[keyof typeof SHAPES];
export const SHAPE_NAMES = Object.keys(SHAPES) as (keyof typeof SHAPES)[];
/** Bytes a weight. */
const Q4_0 = 18 / 32;
const CONTEXT = 2048;

/** A layer of such a model in Q4_0 of whose neurons `density` fire, the hottest far more often where skew is large. */
function modelLayer({ embd, ff, kvWidth }: Shape, density: number, skew: number, rates: Rates): LayerProblem {
  const groups = ff / 64;
  const weights = Array.from({ length: groups }, (_, group) => (group + 1) ** -skew);
  const total = weights.reduce((a, b) => a + b);
  const sizes = {
    groups,
    active: weights.map((weight) => Math.min(64, (weight / total) * ff * density)),
    groupBytes: 64 * 3 * embd * Q4_0,
    ownBytes: (2 * embd + 2 * kvWidth) * embd * Q4_0,
    cacheBytes: kvWidth * 4 * CONTEXT,
  };
  return layerOf(sizes, rates);
}

/**
 * A model of that shape in Q4_0, a tenth of whose neurons fire, the hottest far more often; on a card of 800 GB/s.
 * @param activity by which a layer's firings are multiplied
 */
export function modelProblem(
  name: keyof typeof SHAPES,
  budgetBytes: number,
  skew: number,
  activity: (layer: number) => number = () => 1,
): PlacementProblem {
  const shape = SHAPES[name];
  const rates = { gpuBytesPerS: 8e11, cpuBytesPerS: 6e10, gather: 0.65 };
  return {
    layers: Array.from({ length: shape.layers }, (_, layer) =>
      // Later layers are sparser, as they are in most models.
      modelLayer(shape, (0.15 - (0.1 * layer) / shape.layers) * activity(layer), skew, rates),
    ),
    head: { gpuS: 1e-4, cpuS: 1.5e-3, gpuBytes: Math.ceil(32_000 * shape.embd * Q4_0) },
    budgetBytes,
    hotStartS: 1e-5,
    coldStartS: 5e-6,
    handOverS: 2e-5,
    residualS: 1e-5,
    contention: 0,
    coldPeers: false,
    stepS: 1e-4,
  };
}

/**
 * At most so many layers of a well-known shape, more or less sparse and skewed, on a machine of any speed with a card
 * of once to 32 times that, which holds from next to nothing to nearly all of it.
 */
export function realisticProblem(seed: number, mostLayers: number): PlacementProblem {
  const random = new Random(seed);
  const shape = SHAPES[SHAPE_NAMES[random.integer(SHAPE_NAMES.length)] ?? "llama-7b"];
  const between = (least: number, most: number) => least + (most - least) * random.uniform();
  const cpuBytesPerS = 2e10 * 2 ** between(0, 2);
  const rates = {
    gpuBytesPerS: cpuBytesPerS * 2 ** between(0, 5),
    cpuBytesPerS,
    gather: between(0.4, 1),
  };
  const [skew, density, varied] = [between(0, 1.4), between(0.02, 0.3), between(0, 0.5)];
  const count = Math.min(shape.layers, mostLayers);
  const layers = Array.from({ length: count }, (_, layer) =>
    modelLayer(
      shape,
      density * (1 - (0.6 * layer) / count),
      Math.max(0, skew + varied * between(-0.5, 0.5)),
      rates,
    ),
  );
  const headBytes = Math.ceil(32_000 * shape.embd * Q4_0);
  const whole =
    headBytes + layers.reduce((sum, { own, gpuBytes }) => sum + own.gpuBytes + (gpuBytes.at(-1) ?? 0), 0);
  return {
    layers,
    head: { gpuS: headBytes / rates.gpuBytesPerS, cpuS: headBytes / rates.cpuBytesPerS, gpuBytes: headBytes },
    budgetBytes: Math.floor(whole * between(0.03, 0.95)),
    hotStartS: between(0, 2e-5),
    coldStartS: between(0, 1e-5),
    handOverS: between(0, 4e-5),
    residualS: between(0, 2e-5),
    contention: random.uniform() < 0.5 ? 0 : between(0, 0.4),
    coldPeers: random.uniform() < 0.2,
    stepS: 1e-4,
  };
}

/** Every choice there is. */
export function* allChoices(problem: PlacementProblem): Generator<Choice> {
  const owners: Owner[] = ["gpu", "cpu"];
  function* from(index: number): Generator<LayerChoice[]> {
    const layer = problem.layers[index];
    if (layer === undefined) {
      yield [];
      return;
    }
    for (const rest of from(index + 1)) {
      for (const owner of owners) {
        for (let hot = 0; hot < layer.neurons.length; hot++) yield [{ owner, hot }, ...rest];
      }
    }
  }
  for (const layers of from(0)) for (const head of owners) yield { layers, head };
}

/** What engines without a placement do: whole layers on the card from the last one back, as many as fit. */
export function topmostLayersFirst(problem: PlacementProblem): Choice {
  const choice: Choice = { layers: problem.layers.map(() => ({ owner: "cpu", hot: 0 })), head: "cpu" };
  let left = problem.budgetBytes - problem.head.gpuBytes;
  if (left < 0) return choice;
  choice.head = "gpu";
  for (let index = problem.layers.length - 1; index >= 0; index--) {
    const layer = problem.layers[index];
    if (layer === undefined) break;
    left -= layer.own.gpuBytes + (layer.gpuBytes.at(-1) ?? 0);
    if (left < 0) break;
    choice.layers[index] = { owner: "gpu", hot: layer.neurons.length - 1 };
  }
  return choice;
}
