import { describe, expect, it } from "vitest";
import { fromHalf, HALF_VALUES, toHalf } from "../../coordinator/model/convert/half.js";
import { dequantize, quantize } from "../../coordinator/model/convert/quantize.js";
import { Random } from "../support/random.js";

/** Half the distance between neighbouring halves around `value`. */
function halfUlp(value: number): number {
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))));
  return 2 ** (exponent - 10) / 2;
}

/** Values over many magnitudes, some blocks all zero, some with one outlier. */
function samples(blocks: number, seed: number): Float32Array {
  const random = new Random(seed);
  return Float32Array.from({ length: blocks * 32 }, (_, i) => {
    const block = Math.floor(i / 32);
    if (block % 17 === 0) return 0;
    const scale = 2 ** ((block % 24) - 12);
    return scale * (i % 32 === block % 32 ? 8 * random.symmetric() : random.normal());
  });
}

describe("halves", () => {
  it("survive the way to a number and back, every one of them", () => {
    for (let half = 0; half < 65_536; half++) {
      const value = fromHalf(half);
      expect(HALF_VALUES[half]).toEqual(value);
      if (Number.isNaN(value)) expect(Number.isNaN(fromHalf(toHalf(value)))).toBe(true);
      else if (toHalf(value) !== half) expect(toHalf(value)).toBe(half);
    }
  });

  it.each([
    ["one", 1, 0x3c00],
    ["minus two", -2, 0xc000],
    ["minus zero", -0, 0x8000],
    ["a third", 1 / 3, 0x3555],
    ["the largest", 65_504, 0x7bff],
    ["below the middle to 2^16", 65_519.996, 0x7bff],
    ["the middle to 2^16", 65_520, 0x7c00],
    ["minus infinity", Number.NEGATIVE_INFINITY, 0xfc00],
    ["a tie to the even neighbour below", 1 + 2 ** -11, 0x3c00],
    ["a tie to the even neighbour above", 1 + 3 * 2 ** -11, 0x3c02],
    ["a tie that carries into the exponent", 2 - 2 ** -11, 0x4000],
    ["the smallest normal", 2 ** -14, 0x0400],
    ["a tie that becomes the smallest normal", 2 ** -14 - 2 ** -25, 0x0400],
    ["the smallest subnormal", 2 ** -24, 0x0001],
    ["a tie to zero", 2 ** -25, 0x0000],
    ["just above that tie", 2 ** -25 * (1 + 2 ** -23), 0x0001],
    ["a subnormal tie to even", 3 * 2 ** -25, 0x0002],
    ["a float32 subnormal", 2 ** -140, 0x0000],
  ])("%s rounds to nearest even", (_, value, half) => {
    expect(toHalf(value).toString(16)).toBe(half.toString(16));
  });

  it("are never farther than half a step from the number", () => {
    const random = new Random(5);
    for (let i = 0; i < 20_000; i++) {
      const value = Math.fround(random.symmetric() * 2 ** (random.integer(40) - 26));
      if (Math.abs(value) >= 65_520) continue;
      expect(Math.abs(fromHalf(toHalf(value)) - value)).toBeLessThanOrEqual(halfUlp(value));
    }
  });
});

describe("the layout of a block", () => {
  it("of Q8_0 is a half and 32 signed bytes", () => {
    const values = Float32Array.from({ length: 32 }, (_, i) => (i % 2 === 0 ? i : -i));
    values[31] = -127;
    const block = quantize("q8_0", values);
    expect(block).toHaveLength(34);
    expect([...block.subarray(0, 2)]).toEqual([0x00, 0x3c]);
    expect([...new Int8Array(block.buffer, 2)]).toEqual([...values]);
  });

  it("of Q4_0 is a half and 16 bytes of elements i and i + 16, plus 8", () => {
    const values = Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? i / 2 - 8 : 7 - (i - 16) / 2));
    const block = quantize("q4_0", values);
    expect(block).toHaveLength(18);
    expect([...block.subarray(0, 2)]).toEqual([0x00, 0x3c]);
    for (let i = 0; i < 16; i++) {
      const byte = block[2 + i] ?? 0;
      expect(byte & 0xf, `element ${i}`).toBe(Math.trunc((values[i] ?? 0) + 8.5));
      expect(byte >>> 4, `element ${i + 16}`).toBe(Math.min(15, Math.trunc((values[i + 16] ?? 0) + 8.5)));
    }
  });

  it("of Q4_0 has a negative scale when its largest element is positive", () => {
    const values = new Float32Array(32);
    values[3] = 16;
    values[4] = -14;
    const block = quantize("q4_0", values);
    expect([...block.subarray(0, 2)]).toEqual([0x00, 0xc0]);
    expect(dequantize("q4_0", block, 32)[3]).toBe(16);
    expect(dequantize("q4_0", block, 32)[4]).toBe(-14);
  });

  it("rounds halves of Q8_0 away from zero", () => {
    const values = Float32Array.of(127, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, ...new Array(25).fill(0));
    expect([...new Int8Array(quantize("q8_0", values).buffer, 2).subarray(0, 7)]).toEqual([
      127, 1, -1, 2, -2, 3, -3,
    ]);
  });

  it("of zeros is zeros", () => {
    expect(dequantize("q8_0", quantize("q8_0", new Float32Array(32)), 32)).toEqual(new Float32Array(32));
    expect([...dequantize("q4_0", quantize("q4_0", new Float32Array(32)), 32)].every((x) => x === 0)).toBe(
      true,
    );
  });
});

describe("what comes back", () => {
  const values = samples(2000, 7);

  it("is the same from f32", () => {
    expect(dequantize("f32", quantize("f32", values), values.length)).toEqual(values);
  });

  it("is the nearest half from f16", () => {
    const back = dequantize("f16", quantize("f16", values), values.length);
    expect([...back]).toEqual([...values].map((value) => fromHalf(toHalf(value))));
  });

  // Rounding to a step of the scale costs half a step. The stored scale is rounded to a half itself, which costs each
  // of an element's steps its share; float32 arithmetic in between costs a little more.
  it.each([
    ["q8_0", 127],
    ["q4_0", 8],
  ] as const)("is within the format's bound from %s", (type, steps) => {
    const back = dequantize(type, quantize(type, values), values.length);
    for (let from = 0; from < values.length; from += 32) {
      const block = values.subarray(from, from + 32);
      const extreme = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
      const step = Math.abs(extreme) / steps;
      const stored = step === 0 ? 0 : steps * halfUlp(step);
      block.forEach((value, i) => {
        // Q4_0 reaches 8 steps on the extreme's side and 7 on the other, where the last step is cut off.
        const cutOff = type === "q4_0" && -value * Math.sign(extreme) > 7.5 * step;
        const bound = step * (cutOff ? 1 : 0.5) + stored + Math.abs(extreme) * 2 ** -22;
        const error = Math.abs((back[from + i] ?? Number.NaN) - value);
        if (!(error <= bound)) expect(error, `element ${from + i}`).toBeLessThanOrEqual(bound);
      });
    }
  });
});
