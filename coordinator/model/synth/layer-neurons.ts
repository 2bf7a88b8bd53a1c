/** The gate rows of one layer, and the predictor that tells which of them fire. */
import type { WeightType } from "../../../native/index.js";
import { type Calibration, CONSTANT } from "./calibration.js";
import { SCALED_TOGETHER } from "./encode.js";
import { nearestHalf } from "./half.js";
import { basisRows, biasUnits, SUMMANDS, type SynthOptions } from "./options.js";
import { BASIS_VARIANCE, WeightStream } from "./random.js";

/** Fills one row of a matrix: a number an element, and a scale for each 32. Rows are asked for in order, once. */
export type RowSource = (row: number, numbers: Int8Array, scales: Float32Array) => void;

/** The number whose scale a bias decides: in Q4_0 the only one as large, so that quantizers take the scale as it is. */
const BIAS = -8;

/**
 * How much higher the predictor sets each bias, in standard deviations of the gate. Q8 activations give both sides
 * errors of about 0.005 of them, so a margin of twice that misses few neurons and adds few.
 */
const MARGIN = 0.01;
/** Types that round the whole numbers, by about 0.1 and 0.06 standard deviations, of which half is enough. */
const ROUNDING_MARGINS: Partial<Record<WeightType, number>> = { q4_k: 0.05, q5_k: 0.03 };

function marginOf(types: readonly WeightType[]): number {
  return Math.max(...types.map((type) => ROUNDING_MARGINS[type] ?? MARGIN));
}

/** With a predictor, gate row i is the sum of SUMMANDS rows of a basis, each with a sign. */
interface Basis {
  /** Rows of a basis matrix, row after row. */
  numbers: Int8Array;
  rows: number;
  /** SUMMANDS different rows for each neuron. */
  summands: Uint32Array;
  signs: Int8Array;
}

export class LayerNeurons {
  private readonly biases: Float64Array;
  private readonly gates: WeightStream;
  private readonly basis: Basis | null;
  private readonly embd: number;

  constructor(
    private readonly options: SynthOptions,
    private readonly calibration: Calibration,
    private readonly layer: number,
  ) {
    const { seed, predictor, shape } = options;
    const stream = (label: string) => new WeightStream(seed, `blk.${layer} ${label}`);
    this.embd = shape.embd;
    this.gates = stream("gate");
    this.biases = shuffled(calibration.biases, stream("order"));
    this.basis =
      predictor === null
        ? null
        : drawBasis(basisRows(predictor), shape, calibration.reserved, stream("basis"));
  }

  gate(): RowSource {
    const { reserved, constant, gate, spread } = this.calibration;
    return (row, numbers, scales) => {
      const length = this.fillGate(row, numbers);
      scales.fill(gate);
      if (reserved > 0) {
        const deviation = length * gate * spread(this.layer);
        numbers[0] = BIAS;
        scales[0] = nearestHalf(((this.biases[row] ?? 0) * deviation) / constant / BIAS);
      }
    };
  }

  /** The basis, the basis negated (of a number and its negative, ReLU leaves one), and the constant. */
  fc1(): RowSource {
    const { rank, type } = this.predictor();
    const basis = this.existingBasis();
    const firstBias = rank - biasUnits(type);
    return (row, numbers, scales) => {
      numbers.fill(0);
      scales.fill(this.basisScale());
      if (row === firstBias) {
        numbers[0] = CONSTANT;
        scales[0] = this.constantScale();
      } else if (row < 2 * basis.rows) {
        const from = (row % basis.rows) * this.embd;
        const sign = row < basis.rows ? 1 : -1;
        for (let i = 0; i < this.embd; i++) numbers[i] = sign * (basis.numbers[from + i] ?? 0);
      }
    };
  }

  /** Which basis rows a gate row is the sum of, and its bias. */
  fc2(): RowSource {
    const { rank, type } = this.predictor();
    const { rows, summands, signs } = this.existingBasis();
    const firstBias = rank - biasUnits(type);
    const gate = new Int8Array(this.embd);
    const margin = marginOf([type, this.options.type]);
    const constantUnit = CONSTANT * this.constantScale() * this.calibration.constant;
    return (row, numbers, scales) => {
      numbers.fill(0);
      scales.fill(1);
      for (let k = row * SUMMANDS; k < (row + 1) * SUMMANDS; k++) {
        const summand = summands[k] ?? 0;
        numbers[summand] = signs[k] ?? 0;
        numbers[rows + summand] = -(signs[k] ?? 0);
      }
      const deviation = this.fillGate(row, gate) * this.basisScale() * this.calibration.spread(this.layer);
      numbers[firstBias] = BIAS;
      const bias = ((this.biases[row] ?? 0) + margin) * deviation;
      scales[firstBias / SCALED_TOGETHER] = nearestHalf(bias / constantUnit / BIAS);
    };
  }

  /** A gate row without its bias. @returns its length */
  private fillGate(row: number, numbers: Int8Array): number {
    const { basis } = this;
    if (basis === null) this.gates.fill(numbers);
    else sumOf(basis, row, numbers);
    numbers.fill(0, 0, this.calibration.reserved);
    let squares = 0;
    for (let i = 0; i < numbers.length; i++) squares += (numbers[i] ?? 0) ** 2;
    return Math.sqrt(squares);
  }

  /** Makes a basis row a standard normal variable of the residual. */
  private basisScale(): number {
    return nearestHalf(1 / Math.sqrt(BASIS_VARIANCE * (this.embd - this.calibration.reserved)));
  }

  /** Makes the constant's hidden unit 1. */
  private constantScale(): number {
    return nearestHalf(1 / (CONSTANT * this.calibration.constant));
  }

  private predictor(): NonNullable<SynthOptions["predictor"]> {
    if (this.options.predictor === null) throw new Error("a model without predictors has no fc1 and fc2");
    return this.options.predictor;
  }

  private existingBasis(): Basis {
    if (this.basis === null) throw new Error("a model without predictors has no basis");
    return this.basis;
  }
}

function drawBasis(
  rows: number,
  { embd, ff }: { embd: number; ff: number },
  reserved: number,
  stream: WeightStream,
): Basis {
  const numbers = new Int8Array(rows * embd);
  stream.fillBasis(numbers);
  for (let row = 0; row < rows; row++) numbers.fill(0, row * embd, row * embd + reserved);
  const summands = new Uint32Array(ff * SUMMANDS);
  const signs = new Int8Array(ff * SUMMANDS);
  for (let first = 0; first < summands.length; first += SUMMANDS) {
    for (let k = first; k < first + SUMMANDS; ) {
      const candidate = stream.below(rows);
      if (summands.subarray(first, k).includes(candidate)) continue;
      summands[k] = candidate;
      signs[k++] = stream.bits() < 0 ? -1 : 1;
    }
  }
  return { numbers, rows, summands, signs };
}

function sumOf({ numbers: basis, summands, signs }: Basis, row: number, numbers: Int8Array): void {
  const width = numbers.length;
  numbers.fill(0);
  for (let k = row * SUMMANDS; k < (row + 1) * SUMMANDS; k++) {
    const from = (summands[k] ?? 0) * width;
    const sign = signs[k] ?? 0;
    for (let i = 0; i < width; i++) numbers[i] = (numbers[i] ?? 0) + sign * (basis[from + i] ?? 0);
  }
}

function shuffled(values: Float64Array, stream: WeightStream): Float64Array {
  const order = stream.permutation(values.length);
  return Float64Array.from(order, (index) => values[index] ?? 0);
}
