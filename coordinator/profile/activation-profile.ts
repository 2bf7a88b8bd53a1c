/** How often, and how strongly, each neuron of a model fired, by what the model was reading then. */
import type { FiredCounts, ModelShape } from "../../native/index.js";

/** What counts depend on, beside weights and text. */
export type ProfiledShape = Pick<ModelShape, "layers" | "ff" | "activation" | "reluThreshold">;

/** Neuron n of layer l is entry l * ff + n. */
export interface CountedTokens extends Pick<FiredCounts, "strengths"> {
  counts: Uint32Array | Float64Array;
  /** That the neurons could fire for. */
  tokens: number;
}

/** What was read: a text, or a server's requests. */
export interface ProfileSource {
  /** A text's file name. */
  name: string;
  /** SHA-256 of the text's bytes, hexadecimal; empty for live traffic. */
  digest: string;
  /** Tokens of each window the text is read in; 0 for live traffic. */
  contextLength: number;
  /** How many of its windows have been read. */
  windows: number;
  tokens: number;
  /** Tokens that each neuron fired for. */
  counts: Float32Array;
}

/** The source of what servers saw. */
export const LIVE_SOURCE = { name: "live traffic", digest: "", contextLength: 0, windows: 0 } as const;

/**
 * Counts and strengths are added up as the file keeps them, as 32-bit floats: what was saved and read again goes on with
 * the same bits. Counts are exact up to 2^24 tokens.
 */
export class ActivationProfile {
  readonly shape: ProfiledShape;
  readonly strengths: Float32Array;

  /** @param strengths sums of the absolute values of each neuron's hidden value, act(gate) * up, over all sources */
  constructor(
    { layers, ff, activation, reluThreshold }: ProfiledShape,
    readonly sources: ProfileSource[] = [],
    strengths: Float32Array | null = null,
  ) {
    this.shape = { layers, ff, activation, reluThreshold };
    this.strengths = strengths ?? new Float32Array(layers * ff);
  }

  get tokens(): number {
    return this.sources.reduce((sum, { tokens }) => sum + tokens, 0);
  }

  /** The source with this digest; a new, empty one if there is none yet. */
  source(of: Pick<ProfileSource, "name" | "digest" | "contextLength">): ProfileSource {
    const known = this.sources.find(({ digest }) => digest === of.digest);
    if (known !== undefined) return known;
    const { name, digest, contextLength } = of;
    const counts = new Float32Array(this.shape.layers * this.shape.ff);
    const source = { name, digest, contextLength, windows: 0, tokens: 0, counts };
    this.sources.push(source);
    return source;
  }

  add(source: ProfileSource, counted: CountedTokens): void {
    source.tokens += counted.tokens;
    for (let i = 0; i < source.counts.length; i++) {
      source.counts[i] = (source.counts[i] ?? 0) + (counted.counts[i] ?? 0);
      this.strengths[i] = (this.strengths[i] ?? 0) + (counted.strengths[i] ?? 0);
    }
  }

  /** Over all sources. */
  totals(): Float32Array {
    const totals = new Float32Array(this.shape.layers * this.shape.ff);
    for (const { counts } of this.sources) {
      for (let i = 0; i < totals.length; i++) totals[i] = (totals[i] ?? 0) + (counts[i] ?? 0);
    }
    return totals;
  }
}
