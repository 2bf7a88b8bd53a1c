/** The peer on a CUDA card, within a budget of its memory. */
import { ThermoclineError } from "../proto/errors.js";
import { Peer, type PeerProcess, type PeerRun, surveyPeer } from "./peer.js";
import { chooseLayers, describeChoice, type LayerTrial } from "./peer-layers.js";
import { median } from "./statistics.js";

const TRIAL_RUNS = 3;
/** The driver's context and the kernels' code take no more. What a budget of ours is for does not count them either. */
const MOST_CODE_BYTES = 512 * 1024 ** 2;

/** What decides which number of layers is the fastest. */
export interface Trial {
  prompt: readonly number[];
  tokens: number;
  /** Tokens a second, of those that are compared. */
  rate: (run: PeerRun) => number;
}

/**
 * Opens the peer with `given` layers on the card, or with the fastest number of them that the budget holds. Each number
 * is tried in a process of its own, so that nothing is left of the one before.
 * @param remark is told what was chosen, and of what
 * @throws ThermoclineError; RESOURCE_EXHAUSTED when the card or the budget is too small
 */
export async function openOnCard(
  options: PeerProcess,
  { budgetBytes, given, trial }: { budgetBytes: number; given: number | null; trial: Trial },
  remark: (text: string) => void,
): Promise<Peer> {
  if (given !== null) return openWith(options, given);
  const survey = await surveyPeer(options, budgetBytes);
  const choice = await chooseLayers(survey, budgetBytes, (layers) => tryLayers(options, layers, trial));
  remark(describeChoice(choice, survey.totalLayers));
  return openWith(options, choice.chosen.layers);
}

/**
 * Gives the card's memory back.
 * @returns what the peer had of it at the most, for weights, KV cache and scratch, in bytes
 */
export async function releaseFromCard(peer: Peer): Promise<number> {
  return peer.peakVramBytes - Math.min(await peer.release(), MOST_CODE_BYTES);
}

async function openWith(options: PeerProcess, gpuLayers: number): Promise<Peer> {
  const peer = await Peer.open({ ...options, gpuLayers });
  if (peer.gpu?.layers === gpuLayers) return peer;
  await peer.close();
  throw new ThermoclineError(
    "INVALID_ARGUMENT",
    `--peer-gpu-layers is ${gpuLayers}, and llama.cpp took ${peer.gpu?.layers ?? 0}: the model has ` +
      `${peer.gpu?.totalLayers ?? 0}, its output included; give at most as many`,
  );
}

async function tryLayers(options: PeerProcess, layers: number, trial: Trial): Promise<LayerTrial | null> {
  const peer = await openOrNull(options, layers);
  if (peer === null) return null;
  try {
    const turn = async () => trial.rate(await peer.generate(trial.prompt, trial.tokens));
    // Kernels are loaded, and scratch is taken, when they are first needed.
    await turn();
    const rates: number[] = [];
    while (rates.length < TRIAL_RUNS) rates.push(await turn());
    return { layers, vramBytes: await releaseFromCard(peer), tokensPerS: median(rates) };
  } finally {
    await peer.close();
  }
}

/** Null when the card's memory does not suffice. */
async function openOrNull(options: PeerProcess, layers: number): Promise<Peer | null> {
  try {
    return await openWith(options, layers);
  } catch (error) {
    if (error instanceof ThermoclineError && error.code === "RESOURCE_EXHAUSTED") return null;
    throw error;
  }
}
