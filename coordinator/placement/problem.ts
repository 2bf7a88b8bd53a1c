/**
 * The placement problem as plain numbers, and what a choice would cost: the one place where predicted times come from.
 *
 * Within a layer, groups of neurons are sorted by heat and the GPU executor gets the first `hot` of them: a hotter group
 * saves the CPU more and takes no more memory. A layer's step is its owner's attention and predictor, then both halves
 * at the same time, then the merge, with a hand-over where somebody else has neurons.
 */

/** Who runs a layer's attention and predictor, holds its KV cache and residual, and merges; or who runs the head. */
export type Owner = "gpu" | "cpu";

/** What attention and predictor of one layer, or the head, take on either side. */
export interface OwnerCost {
  gpuS: number;
  cpuS: number;
  /** What it takes of the budget on the GPU executor: weights, KV cache, and their share of its scratch. */
  gpuBytes: number;
}

export interface LayerProblem {
  own: OwnerCost;
  /** Neurons of the first k groups; entry k of groups + 1, beginning with 0. So are the next three. */
  neurons: Float64Array;
  /** Expected active ones of them, per token. */
  active: Float64Array;
  /** Seconds that the first k groups take on the GPU executor, without {@link PlacementProblem.hotStartS}. */
  hotS: Float64Array;
  /** Seconds that all but the first k groups take on the CPU executors, without `coldStartS`. */
  coldS: Float64Array;
  gpuBytes: Float64Array;
}

export interface PlacementProblem {
  layers: LayerProblem[];
  head: OwnerCost;
  /** For all that is chosen; what the choice does not change is taken off already. */
  budgetBytes: number;
  /** Added to a half that has neurons. */
  hotStartS: number;
  coldStartS: number;
  /** Both ways of a layer's activations, when an executor other than the owner has neurons. */
  handOverS: number;
  /** The residual's way when the next layer, or the head, has another owner. */
  residualS: number;
  /**
   * What two halves that run at the same time lose to each other: 0 where each has memory of its own, up to 1 where
   * they share one that either could saturate. Together they take the longer one's time and this much of the shorter's.
   */
  contention: number;
  /** Whether several CPU executors share the cold neurons, so that all of them cold is a hand-over as well. */
  coldPeers: boolean;
  /** Of a step outside the layers and the head: submission, embedding, waking. */
  stepS: number;
}

export interface LayerChoice {
  owner: Owner;
  /** Groups on the GPU executor, hottest first. */
  hot: number;
}

export interface Choice {
  layers: LayerChoice[];
  head: Owner;
}

/** Predicted times of a layer, in seconds. */
export interface LayerPrediction extends LayerChoice {
  ownerS: number;
  hotS: number;
  coldS: number;
  handOverS: number;
  /** Of the residual, to the next layer's owner. */
  residualS: number;
  totalS: number;
  hotNeurons: number;
  activeHot: number;
  active: number;
  gpuBytes: number;
}

export interface Prediction {
  layers: LayerPrediction[];
  headS: number;
  stepS: number;
  totalS: number;
  /** Of the budget. */
  gpuBytes: number;
  /** The GPU executor's share of the expected active neurons. */
  hotShare: number;
}

export function groupsOf(layer: LayerProblem): number {
  return layer.neurons.length - 1;
}

/** Seconds of a layer but for its residual's way to the next. */
export function layerS(problem: PlacementProblem, index: number, { owner, hot }: LayerChoice): number {
  const { ownerS, hotS, coldS, handOverS } = layerTimes(problem, index, { owner, hot });
  return ownerS + together(problem, hotS, coldS) + handOverS;
}

function together({ contention }: PlacementProblem, hotS: number, coldS: number): number {
  return Math.max(hotS, coldS) + contention * Math.min(hotS, coldS);
}

function layerTimes(problem: PlacementProblem, index: number, { owner, hot }: LayerChoice) {
  const layer = layerAt(problem, index);
  const isHot = hot > 0;
  const isCold = hot < groupsOf(layer);
  const peers = owner === "gpu" ? isCold : isHot || problem.coldPeers;
  return {
    ownerS: owner === "gpu" ? layer.own.gpuS : layer.own.cpuS,
    hotS: isHot ? problem.hotStartS + at(layer.hotS, hot) : 0,
    coldS: isCold ? problem.coldStartS + at(layer.coldS, hot) : 0,
    handOverS: peers ? problem.handOverS : 0,
  };
}

/** What a layer's choice takes of the budget. */
export function layerBytes(problem: PlacementProblem, index: number, { owner, hot }: LayerChoice): number {
  const layer = layerAt(problem, index);
  return (owner === "gpu" ? layer.own.gpuBytes : 0) + at(layer.gpuBytes, hot);
}

/** What a choice takes of the budget. */
export function choiceBytes(problem: PlacementProblem, choice: Choice): number {
  const layers = choice.layers.reduce((sum, layer, index) => sum + layerBytes(problem, index, layer), 0);
  return layers + (choice.head === "gpu" ? problem.head.gpuBytes : 0);
}

/** Seconds of a step. */
export function stepS(problem: PlacementProblem, choice: Choice): number {
  let total = problem.stepS + (choice.head === "gpu" ? problem.head.gpuS : problem.head.cpuS);
  for (const [index, layer] of choice.layers.entries()) {
    total += layerS(problem, index, layer);
    if ((choice.layers[index + 1]?.owner ?? choice.head) !== layer.owner) total += problem.residualS;
  }
  return total;
}

/** Everything there is to say of a choice. */
export function predict(problem: PlacementProblem, choice: Choice): Prediction {
  const layers = choice.layers.map((layerChoice, index): LayerPrediction => {
    const layer = layerAt(problem, index);
    const moves = (choice.layers[index + 1]?.owner ?? choice.head) !== layerChoice.owner;
    const residualS = moves ? problem.residualS : 0;
    return {
      ...layerChoice,
      ...layerTimes(problem, index, layerChoice),
      residualS,
      totalS: layerS(problem, index, layerChoice) + residualS,
      hotNeurons: at(layer.neurons, layerChoice.hot),
      activeHot: at(layer.active, layerChoice.hot),
      active: at(layer.active, groupsOf(layer)),
      gpuBytes: layerBytes(problem, index, layerChoice),
    };
  });
  const sum = (of: (layer: LayerPrediction) => number) =>
    layers.reduce((total, layer) => total + of(layer), 0);
  return {
    layers,
    headS: choice.head === "gpu" ? problem.head.gpuS : problem.head.cpuS,
    stepS: problem.stepS,
    totalS: stepS(problem, choice),
    gpuBytes: choiceBytes(problem, choice),
    hotShare: sum(({ activeHot }) => activeHot) / sum(({ active }) => active),
  };
}

/** The choice that takes nothing of the budget. */
export function allCold(problem: PlacementProblem): Choice {
  return { layers: problem.layers.map(() => ({ owner: "cpu", hot: 0 })), head: "cpu" };
}

/** Whether the choice keeps to the budget. */
export function fits(problem: PlacementProblem, choice: Choice): boolean {
  return choiceBytes(problem, choice) <= problem.budgetBytes;
}

function layerAt(problem: PlacementProblem, index: number): LayerProblem {
  const layer = problem.layers[index];
  if (layer === undefined) throw new RangeError(`the problem has no layer ${index}`);
  return layer;
}

function at(values: Float64Array, index: number): number {
  const value = values[index];
  if (value === undefined) throw new RangeError(`a layer has no group ${index}`);
  return value;
}
