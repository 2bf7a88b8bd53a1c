/** Weight formats by way of the bridge, against the oracle that reads each of them from its description. */
import { describe, expect, it } from "vitest";
import { bytesOf, WEIGHT_TYPES } from "../../coordinator/model/tensor-types.js";
import { convertRows, type NativeError, type WeightType } from "../../native/index.js";
import { dequantize as dequantizeExactly, halfToNumber } from "../oracle/dequantize.js";
import { Random } from "../support/random.js";
import { dequantize, quantize } from "../support/stored-rows.js";
import { callRaw } from "./raw-addon.js";

const TYPES = Object.keys(WEIGHT_TYPES) as WeightType[];
const COLS = 512;

function randomBytes(random: Random, count: number): Uint8Array {
  return Uint8Array.from({ length: count }, () => random.integer(256));
}

/** Where the halves of a block lie, in bytes from its start; their upper byte decides whether they are finite. */
const HALVES: Readonly<Record<WeightType, readonly number[]>> = {
  f32: [],
  f16: [0],
  bf16: [],
  q8_0: [0],
  q4_0: [0],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
};

/** Random rows whose elements and scales are finite. */
function randomRows(random: Random, type: WeightType, elements: number): Uint8Array {
  const { blockBytes } = WEIGHT_TYPES[type];
  const bytes = randomBytes(random, bytesOf(WEIGHT_TYPES[type], elements));
  for (let at = 0; at < bytes.length; at += blockBytes) {
    for (const half of HALVES[type]) bytes[at + half + 1] = (bytes[at + half + 1] ?? 0) & 0xbb;
    // The exponent's upper bits.
    if (type === "f32") bytes[at + 3] = (bytes[at + 3] ?? 0) & 0xbf;
    if (type === "bf16") bytes[at + 1] = (bytes[at + 1] ?? 0) & 0xbf;
  }
  return bytes;
}

describe.each(TYPES)("rows of %s", (type) => {
  it("hold what the format's description says", async () => {
    const random = new Random(1);
    const rows = randomRows(random, type, 16 * COLS);
    const exact = dequantizeExactly(type, rows, 16 * COLS);
    const read = await dequantize(type, rows, 16 * COLS);
    // Each product and the difference of two is rounded to float32; the exact terms are at most 63 * 31 halves.
    exact.forEach((value, i) => {
      const bound =
        type === "q4_k" || type === "q5_k" ? 65504 * 63 * 32 * 2 ** -22 : Math.abs(value) * 2 ** -22;
      if (!(Math.abs((read[i] ?? Number.NaN) - value) <= bound)) expect(read[i], `element ${i}`).toBe(value);
    });
  });

  it("are converted in many calls at once as in one", async () => {
    const random = new Random(2);
    const values = Float32Array.from({ length: 24 * COLS }, () => random.normal());
    const whole = await quantize(type, values);
    const parts = await Promise.all(
      Array.from({ length: 24 }, (_, i) => quantize(type, values.subarray(i * COLS, (i + 1) * COLS))),
    );
    expect(Buffer.concat(parts).equals(whole)).toBe(true);
  });

  it("may be read from a part of a buffer, whose memory is the caller's again at once", async () => {
    const random = new Random(3);
    const rows = randomRows(random, type, COLS);
    const expected = await dequantize(type, rows, COLS);
    const larger = new Uint8Array(rows.length + 7);
    larger.set(rows, 3);
    const converting = dequantize(type, larger.subarray(3, 3 + rows.length), COLS);
    larger.fill(0);
    expect(await converting).toEqual(expected);
  });
});

it("converts every half to its value and back", async () => {
  const finite = Array.from({ length: 65_536 }, (_, half) => half).filter(
    (half) => (half & 0x7c00) !== 0x7c00,
  );
  const halves = Uint16Array.from(finite);
  const bytes = new Uint8Array(halves.buffer);
  const values = await dequantize("f16", bytes, halves.length);
  expect([...values]).toEqual(finite.map(halfToNumber));
  expect((await quantize("f16", values)).every((byte, i) => byte === bytes[i])).toBe(true);
});

describe("the layout of a block", () => {
  it("of Q8_0 is a half and 32 signed bytes, halves of which round away from zero", async () => {
    const values = Float32Array.of(127, 0.5, -0.5, 1.5, -1.5, 2.5, -2.5, ...new Array(24).fill(0), -127);
    const block = await quantize("q8_0", values);
    expect([...block.subarray(0, 2)]).toEqual([0x00, 0x3c]);
    expect([...new Int8Array(block.buffer, 2).subarray(0, 7)]).toEqual([127, 1, -1, 2, -2, 3, -3]);
    expect(new Int8Array(block.buffer, 2)[31]).toBe(-127);
  });

  it("of Q4_0 is a half and 16 bytes of elements i and i + 16, plus 8", async () => {
    const values = Float32Array.from({ length: 32 }, (_, i) => (i < 16 ? i / 2 - 8 : 7 - (i - 16) / 2));
    const block = await quantize("q4_0", values);
    expect([...block.subarray(0, 2)]).toEqual([0x00, 0x3c]);
    for (let i = 0; i < 16; i++) {
      const byte = block[2 + i] ?? 0;
      expect(byte & 0xf, `element ${i}`).toBe(Math.trunc((values[i] ?? 0) + 8.5));
      expect(byte >>> 4, `element ${i + 16}`).toBe(Math.min(15, Math.trunc((values[i + 16] ?? 0) + 8.5)));
    }
  });

  it.each([
    ["q4_k", 15],
    ["q5_k", 31],
  ] as const)("of %s holds a grid over each part exactly", async (type, most) => {
    // Part p: p + 1 times a whole number from 0 to `most`, less 2 (p + 1); steps and minimums are whole multiples.
    const values = Float32Array.from({ length: 256 }, (_, i) => {
      const part = Math.floor(i / 32) + 1;
      return part * (i % (most + 1)) - 2 * part;
    });
    const back = await dequantize(type, await quantize(type, values), 256);
    // The units are 8/63 and 16/63, rounded to halves.
    back.forEach((value, i) => {
      expect(Math.abs(value - (values[i] ?? 0))).toBeLessThanOrEqual(0.5 * (1 + Math.floor(i / 32)));
    });
    expect(back[0]).toBeLessThan(0);
  });
});

describe("refuses", () => {
  const refusal = (conversion: Parameters<typeof convertRows>[0]): Promise<NativeError> =>
    convertRows(conversion).then(
      () => expect.fail("it was converted"),
      (error: NativeError) => error,
    );
  const zeros = (bytes: number) => new Uint8Array(bytes);

  it.each(TYPES.filter((type) => WEIGHT_TYPES[type].blockSize > 1))(
    "rows that are no whole blocks of %s",
    async (type) => {
      const cols = WEIGHT_TYPES[type].blockSize + 1;
      expect(await refusal({ from: "f32", to: type, cols, source: zeros(4 * cols) })).toMatchObject({
        name: "NativeError",
        code: "invalid-argument",
        argument: "cols",
        message: expect.stringMatching(
          `^cols is ${cols}: rows of ${type} have a multiple of ${cols - 1} elements`,
        ),
      });
    },
  );

  it("rows without elements, and bytes that are no whole rows", async () => {
    expect(await refusal({ from: "f32", to: "f16", cols: 0, source: zeros(0) })).toMatchObject({
      argument: "cols",
    });
    expect(await refusal({ from: "f32", to: "f16", cols: 8, source: zeros(33) })).toMatchObject({
      code: "invalid-argument",
      argument: "source",
      message: "source has 33 bytes: rows of 8 elements take 32 each as f32",
    });
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "an element that is %s",
    async (bad) => {
      const values = new Float32Array(256).fill(0.25);
      values[200] = bad;
      for (const to of TYPES) {
        const source = new Uint8Array(values.buffer);
        expect(await refusal({ from: "f32", to, cols: 256, source })).toMatchObject({
          code: "corrupt",
          message: expect.stringMatching(/^an element is (-?nan|-?inf), which is no weight$/),
        });
      }
    },
  );

  it("an element beyond the format's reach", async () => {
    const source = new Uint8Array(Float32Array.of(1, -100_000).buffer);
    expect(await refusal({ from: "f32", to: "f16", cols: 2, source })).toMatchObject({
      code: "invalid-argument",
      argument: "to",
      message: "an element has the magnitude 100000, beyond the 65504 that f16 reaches",
    });
  });

  it.each([
    ["an unknown type", { from: "q3_k", to: "f32", cols: 1, source: zeros(4) }, "from"],
    ["no type at all", { from: "f32", cols: 1, source: zeros(4) }, "to"],
    ["half a column", { from: "f32", to: "f16", cols: 0.5, source: zeros(4) }, "cols"],
    ["numbers for bytes", { from: "f32", to: "f16", cols: 1, source: Float32Array.of(1) }, "source"],
  ])("%s", (_, conversion, argument) => {
    expect(() => callRaw("convertRows", conversion)).toThrow(
      expect.objectContaining({ code: "invalid-argument", argument }),
    );
  });
});
