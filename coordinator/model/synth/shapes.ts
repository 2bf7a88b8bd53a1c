/** The sizes of well-known models, for synthetic ones. */

/** Sizes of a llama-architecture model. */
export interface SynthShape {
  layers: number;
  /** Width of the residual stream. */
  embd: number;
  heads: number;
  kvHeads: number;
  /** Neurons a layer. */
  ff: number;
  vocab: number;
  /** Positions it claims to be trained on. */
  contextLength: number;
}

export interface Preset {
  shape: SynthShape;
  /** What differs from the model of that name, or null when nothing does that a shape can tell. */
  note: string | null;
}

function preset(
  layers: number,
  embd: number,
  heads: number,
  kvHeads: number,
  ff: number,
  vocab: number,
  contextLength: number,
  note: string | null = null,
): Preset {
  return { shape: { layers, embd, heads, kvHeads, ff, vocab, contextLength }, note };
}

export const PRESETS = {
  tiny: preset(4, 512, 8, 2, 1024, 512, 512),
  "tinyllama-1.1b": preset(22, 2048, 32, 4, 5632, 32_000, 2048),
  "llama-7b": preset(32, 4096, 32, 32, 11_008, 32_000, 4096),
  "llama-13b": preset(40, 5120, 40, 40, 13_824, 32_000, 4096),
  "llama-33b": preset(60, 6656, 52, 52, 17_920, 32_000, 2048),
  "llama-70b": preset(80, 8192, 64, 8, 28_672, 32_000, 4096),
  "falcon-40b": preset(
    60,
    8192,
    128,
    8,
    32_768,
    65_024,
    2048,
    "Falcon's sizes in layers of the llama architecture, with a gate matrix that Falcon does not have",
  ),
} satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;
export const PRESET_NAMES = Object.keys(PRESETS) as PresetName[];

/** Elements of all matrices but predictors. */
export function weightsOf({ layers, embd, heads, kvHeads, ff, vocab }: SynthShape): number {
  const attention = 2 * embd ** 2 + 2 * embd * (embd / heads) * kvHeads;
  return layers * (attention + 3 * embd * ff) + 2 * vocab * embd;
}
