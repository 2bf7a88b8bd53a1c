/** What the benchmark and its peer's process say to each other. */
import { z } from "zod";
import { ThermoclineError } from "../proto/errors.js";

/** The first message to a peer; it answers `loaded`. */
export interface LoadRequest {
  kind: "load";
  modelPath: string;
  threads: number;
  /** Positions its cache must hold. */
  contextLength: number;
}

/** Forgets everything, reads a prompt and goes on greedily, past any end; it answers `generated`. */
export interface GenerateRequest {
  kind: "generate";
  prompt: readonly number[];
  /** At least 1. */
  tokens: number;
}

export type PeerRequest = LoadRequest | GenerateRequest;

const loaded = z.object({
  kind: z.literal("loaded"),
  /** What it is and how it was set up, for the report. */
  description: z.string(),
  /** What its library did before it came to the model, in milliseconds. */
  libraryMs: z.number().min(0),
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
});
const failed = z.object({ kind: z.literal("failed"), message: z.string() });
const reply = z.discriminatedUnion("kind", [loaded, generated, failed]);

export type Loaded = z.infer<typeof loaded>;
export type Generated = z.infer<typeof generated>;
export type PeerReply = z.infer<typeof reply>;

/** A reply of the kind that was asked for. @throws ThermoclineError INTERNAL with the peer's words, or for any other reply */
export function parseReply<K extends "loaded" | "generated">(
  kind: K,
  message: unknown,
): Extract<PeerReply, { kind: K }> {
  const parsed = reply.safeParse(message);
  if (!parsed.success) {
    throw new ThermoclineError("INTERNAL", `the peer said what nobody asked: ${JSON.stringify(message)}`);
  }
  const { data } = parsed;
  if (data.kind === "failed") throw new ThermoclineError("INTERNAL", `the peer failed: ${data.message}`);
  if (data.kind !== kind)
    throw new ThermoclineError("INTERNAL", `the peer said ${data.kind} instead of ${kind}`);
  return data as Extract<PeerReply, { kind: K }>;
}
