/** How many of its layers a peer has on a card: the fastest number of those that a budget holds. */
import { ThermoclineError } from "../proto/errors.js";
import { formatBytes } from "../proto/units.js";
import { largestFitting } from "./largest-fitting.js";
import type { Surveyed } from "./peer-protocol.js";

/** Below the largest number that fits: the card may be faster with a little less to do beside its full memory. */
const TRIED_BELOW = 2;

/** What the peer did with some number of layers on the card. */
export interface LayerTrial {
  layers: number;
  /** Of the card's memory, for weights, KV cache and scratch. */
  vramBytes: number;
  tokensPerS: number;
}

export interface LayerChoice {
  /** The fastest. */
  chosen: LayerTrial;
  /** All those of which it is the fastest, most layers first. */
  tried: LayerTrial[];
}

/**
 * @param attempt loads the peer with so many layers and measures it; null when the card's memory does not suffice
 * @throws ThermoclineError RESOURCE_EXHAUSTED when the card has less free than the budget, or no number of layers fits
 */
export async function chooseLayers(
  { totalLayers, estimatedLayers, layerBytes, freeBytes, memoryBytes }: Surveyed,
  budgetBytes: number,
  attempt: (layers: number) => Promise<LayerTrial | null>,
): Promise<LayerChoice> {
  if (freeBytes < budgetBytes) {
    throw new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `--vram-budget is ${formatBytes(budgetBytes)}, and beside us the card has ${formatBytes(freeBytes)} of ` +
        `${formatBytes(memoryBytes)} free for llama.cpp; give at most half of what it has free alone`,
    );
  }
  const trials = new Map<number, LayerTrial | null>();
  const tryOut = async (layers: number) => {
    const known = trials.get(layers);
    if (known !== undefined) return known;
    const trial = await attempt(layers);
    trials.set(layers, trial);
    return trial;
  };
  const search = { most: totalLayers, first: estimatedLayers, step: layerBytes, limit: budgetBytes };
  const largest = await largestFitting(
    search,
    async (layers) => (await tryOut(layers))?.vramBytes ?? Number.POSITIVE_INFINITY,
  );
  if (largest === null) {
    const least = trials.get(0);
    throw new ThermoclineError(
      "RESOURCE_EXHAUSTED",
      `--vram-budget is ${formatBytes(budgetBytes)}, and llama.cpp takes ` +
        `${least ? formatBytes(least.vramBytes) : "more than the card has"} of the card's memory even with no layer on it; give more`,
    );
  }
  // With everything on the card there is nothing to give back.
  const lowest = largest === totalLayers ? largest : Math.max(0, largest - TRIED_BELOW);
  const tried: LayerTrial[] = [];
  for (let layers = largest; layers >= lowest; layers--) {
    const trial = await tryOut(layers);
    if (trial !== null && trial.vramBytes <= budgetBytes) tried.push(trial);
  }
  const chosen = tried.reduce((best, trial) => (trial.tokensPerS > best.tokensPerS ? trial : best));
  return { chosen, tried };
}

/** One line for the report. */
export function describeChoice({ chosen, tried }: LayerChoice, totalLayers: number): string {
  const rates = tried.map(({ layers, tokensPerS }) => `${layers}: ${tokensPerS.toFixed(1)} tokens/s`);
  const among = chosen.layers === totalLayers ? "all of them" : `the fastest of ${rates.join(", ")}`;
  return `${chosen.layers} of ${totalLayers} layers on the card, ${among}`;
}
