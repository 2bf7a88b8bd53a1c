/** What the benchmark and its peer's process say to each other. */
import { z } from "zod";
import { ThermoclineError } from "../proto/errors.js";

/** What a model is loaded with. */
export interface PeerSetup {
  modelPath: string;
  threads: number;
  /** Positions its cache must hold. */
  contextLength: number;
}

/** Asks, before anything is loaded, what a CUDA card would hold; it answers `surveyed`. */
export interface SurveyRequest extends PeerSetup {
  kind: "survey";
  /** Of the card's memory, for weights, KV cache and scratch. */
  budgetBytes: number;
}

/** Loads a model, once; it answers `loaded`, or `full` where the card's memory does not suffice. */
export interface LoadRequest extends PeerSetup {
  kind: "load";
  /** Layers on a CUDA card, the output counted as one; null computes on the CPU without one. */
  gpuLayers: number | null;
}

/** Forgets everything, reads a prompt and goes on greedily, past any end; it answers `generated`. */
export interface GenerateRequest {
  kind: "generate";
  prompt: readonly number[];
  /** At least 1. */
  tokens: number;
}

/** Gives a card's memory back, after which nothing else is asked; it answers `released`. */
export interface ReleaseRequest {
  kind: "release";
}

export type PeerRequest = SurveyRequest | LoadRequest | GenerateRequest | ReleaseRequest;

const bytes = z.number().min(0);
const surveyed = z.object({
  kind: z.literal("surveyed"),
  /** What `gpuLayers` can be at the most. */
  totalLayers: z.int().min(1),
  /** How many of them fit into the budget by the library's own estimate. */
  estimatedLayers: z.int().min(0),
  /** What one more takes, by that estimate. */
  layerBytes: z.number().positive(),
  /** Of the card's memory. */
  freeBytes: bytes,
  memoryBytes: bytes,
});
const loaded = z.object({
  kind: z.literal("loaded"),
  /** What it is and how it was set up, for the report. */
  description: z.string(),
  /** What its library did before it came to the model, in milliseconds. */
  libraryMs: z.number().min(0),
  /** Layers on the card, of how many; null on the CPU. */
  gpu: z.object({ layers: z.int().min(0), totalLayers: z.int().min(1) }).nullable(),
});
const rate = z.number().positive().nullable();
const generated = z.object({
  kind: z.literal("generated"),
  tokens: z.array(z.int().min(0)).min(1),
  /** From the request to the first token, in milliseconds of the peer's own clock. */
  prefillMs: z.number().positive(),
  /** From the first token to the last. */
  decodeMs: z.number().min(0),
  /** Tokens a second by the engine's own clock, without what calls it; null where it tells nothing. */
  own: z.object({ prefillTokensPerS: rate, decodeTokensPerS: rate }),
  /** Threads it computed with. */
  threads: z.int().min(1),
  /** Memory of the card taken since before the model was loaded; null on the CPU. */
  vramBytes: bytes.nullable(),
});
const released = z.object({
  kind: z.literal("released"),
  /** What of that memory did not come back: the driver's and the kernels' code. */
  keptBytes: bytes,
});
const full = z.object({ kind: z.literal("full"), message: z.string() });
const failed = z.object({ kind: z.literal("failed"), message: z.string() });
const reply = z.discriminatedUnion("kind", [surveyed, loaded, generated, released, full, failed]);

export type Surveyed = z.infer<typeof surveyed>;
export type Loaded = z.infer<typeof loaded>;
export type Generated = z.infer<typeof generated>;
export type Released = z.infer<typeof released>;
export type Full = z.infer<typeof full>;
export type PeerReply = z.infer<typeof reply>;

/**
 * A reply of the kind that was asked for.
 * @throws ThermoclineError RESOURCE_EXHAUSTED where a card's memory does not suffice; INTERNAL with the peer's words, or
 * for any other reply
 */
export function parseReply<K extends "surveyed" | "loaded" | "generated" | "released">(
  kind: K,
  message: unknown,
): Extract<PeerReply, { kind: K }> {
  const parsed = reply.safeParse(message);
  if (!parsed.success) {
    throw new ThermoclineError("INTERNAL", `the peer said what nobody asked: ${JSON.stringify(message)}`);
  }
  const { data } = parsed;
  if (data.kind === "failed") throw new ThermoclineError("INTERNAL", `the peer failed: ${data.message}`);
  if (data.kind === "full")
    throw new ThermoclineError("RESOURCE_EXHAUSTED", `the card is too small for the peer: ${data.message}`);
  if (data.kind !== kind)
    throw new ThermoclineError("INTERNAL", `the peer said ${data.kind} instead of ${kind}`);
  return data as Extract<PeerReply, { kind: K }>;
}
