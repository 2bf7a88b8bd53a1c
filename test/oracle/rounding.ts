/**
 * Where arithmetic rounds, as hooks in the oracle's forward pass. Monte Carlo arithmetic (Parker 1997): a result that
 * a machine rounds is replaced by one drawn evenly from the values that rounding may have come from, so that the
 * spread of many such runs is the error which the number formats alone account for.
 */
import type { WeightType } from "../../native/index.js";
import type { Random } from "../support/random.js";

export interface Rounding {
  /** A vector as the kernels for weights of this type take it. The KV cache counts as f16 weights. */
  input(x: Float64Array, type: WeightType): Float64Array;
  /** The neurons' values as a down-projection of this type takes them, stored one row a neuron or one an output. */
  neurons(x: Float64Array, type: WeightType, downByNeuron: boolean): Float64Array;
  /** A sum; `spread` is the root of the squares of all its products and partial sums. */
  sum(value: number, spread: number): number;
  /** One operation's result. */
  value(value: number): number;
  exp(value: number): number;
  /** A rotation's angle in radians. */
  angle(value: number): number;
  /** An element stored in the KV cache. */
  cached(value: number): number;
}

/** No rounding beyond float64's own. */
export const exact: Rounding = {
  input: (x) => x,
  neurons: (x) => x,
  sum: (value) => value,
  value: (value) => value,
  exp: Math.exp,
  angle: (value) => value,
  cached: (value) => value,
};

/** Largest relative error of rounding to nearest: half a unit in the last place, of 24, 11 and 8 bits. */
export const UNIT_ROUNDOFF = { f32: 2 ** -24, f16: 2 ** -11, bf16: 2 ** -8 } as const;

/** Elements that share a scale in a quantized vector, and the largest quant. */
const BLOCK = 32;
const LARGEST_QUANT = 127;

/** Weights whose kernels take vectors as they are; the others' want them quantized. */
const FLOATS: readonly WeightType[] = ["f32", "f16", "bf16"];
/** llama.cpp quantizes vectors for these in blocks as large as the weights', with f32 scales. */
const K_QUANTS: readonly WeightType[] = ["q4_k", "q5_k", "q6_k"];
const K_QUANT_BLOCK = 256;

/**
 * The engine's arithmetic (native/kernels/kernels.h): f32 throughout, though sums over neurons are f64 and stray less;
 * activations quantized per 32 for quantized weights, except where the down-projection is stored one row a neuron, which
 * it scales by the neuron's f32 value; keys and values stored as f16.
 */
export class EngineRounding implements Rounding {
  constructor(protected readonly random: Random) {}

  input(x: Float64Array, type: WeightType): Float64Array {
    return FLOATS.includes(type) ? x : this.quantized(x);
  }

  neurons(x: Float64Array, type: WeightType, downByNeuron: boolean): Float64Array {
    return downByNeuron ? x : this.input(x, type);
  }

  sum(value: number, spread: number): number {
    return value + UNIT_ROUNDOFF.f32 * spread * this.random.symmetric();
  }

  value(value: number): number {
    return this.rounded(value, UNIT_ROUNDOFF.f32);
  }

  /** A float exponential may be off by one unit in the last place, two unit roundoffs. */
  exp(value: number): number {
    return this.rounded(Math.exp(value), 2 * UNIT_ROUNDOFF.f32);
  }

  /** The frequency's power and its product with the position are rounded, the power like {@link exp}. */
  angle(value: number): number {
    return this.rounded(value, 3 * UNIT_ROUNDOFF.f32);
  }

  cached(value: number): number {
    return this.rounded(value, UNIT_ROUNDOFF.f16);
  }

  /** Rounding to nearest moves a number by at most its roundoff times the power of two below it. */
  protected rounded(value: number, roundoff: number): number {
    if (value === 0) return 0;
    const binade = 2 ** Math.floor(Math.log2(Math.abs(value)));
    return value + roundoff * binade * this.random.symmetric();
  }

  /** Each element moves by at most half a step of its block, max|x| / 127. */
  protected quantized(x: Float64Array, blockSize = BLOCK): Float64Array {
    const out = new Float64Array(x.length);
    for (let start = 0; start < x.length; start += blockSize) {
      const block = x.subarray(start, start + blockSize);
      const step = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0) / LARGEST_QUANT;
      block.forEach((value, i) => {
        out[start + i] = value + (step / 2) * this.random.symmetric();
      });
    }
    return out;
  }
}

/**
 * llama.cpp's arithmetic on a CPU without flash attention: as the engine's, but vectors are rounded to f16 and bf16 for
 * such weights and to f16 for the KV cache, and quantized vectors have f16 scales, or for K-quants larger blocks.
 */
export class LlamaCppRounding extends EngineRounding {
  override input(x: Float64Array, type: WeightType): Float64Array {
    if (type === "f16" || type === "bf16") return x.map((value) => this.rounded(value, UNIT_ROUNDOFF[type]));
    if (K_QUANTS.includes(type)) return this.quantized(x, K_QUANT_BLOCK);
    return FLOATS.includes(type) ? x : this.withHalfScales(this.quantized(x));
  }

  /** A frequency is the last one times a constant, so that it may be off by one rounding for each pair before it. */
  override angle(value: number): number {
    return this.rounded(value, 16 * UNIT_ROUNDOFF.f32);
  }

  private withHalfScales(quantized: Float64Array): Float64Array {
    const out = quantized.slice();
    for (let start = 0; start < out.length; start += BLOCK) {
      const scale = this.rounded(1, UNIT_ROUNDOFF.f16);
      for (let i = start; i < Math.min(start + BLOCK, out.length); i++) out[i] = (out[i] ?? 0) * scale;
    }
    return out;
  }
}
