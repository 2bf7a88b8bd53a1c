/** Reads the rows of a planned tensor, rearranged, a block at a time. */

import { ThermoclineError } from "../../../proto/errors.js";
import { FLOAT_BYTES, floatTypeOf, type SafeTensor, type Safetensors } from "../safetensors.js";
import type { PlannedTensor } from "./tensor-plan.js";

/** Elements handled at once, 4 MiB as float32; blocks are whole rows, and whole heads where heads are reordered. */
const BLOCK_ELEMENTS = 1 << 20;

/**
 * Yields the tensor's bytes row after row in blocks of whole rows, in the type it has. Only a block is held at a time; of a tensor to
 * be transposed, the source as well.
 *
 * @throws ThermoclineError UNIMPLEMENTED (an element type that is no float), DATA_LOSS (sizes contradict each other)
 */
export async function* readRows(
  safetensors: Safetensors,
  { source, arrangement, rows, cols }: PlannedTensor,
  headDim: number,
  blockElements = BLOCK_ELEMENTS,
): AsyncGenerator<Uint8Array> {
  const width = FLOAT_BYTES[floatTypeOf(source)];
  if (source.bytes !== rows * cols * width) throw sizeMismatch(source, rows * cols * width);
  const unit = arrangement === "rotary" ? headDim : 1;
  const step = Math.max(1, Math.floor(blockElements / cols / unit)) * unit;
  const whole =
    arrangement === "transpose" ? words(await safetensors.read(source, 0, source.bytes), width) : null;
  for (let first = 0; first < rows; first += step) {
    const count = Math.min(step, rows - first);
    const block =
      whole !== null
        ? transposedRows(whole, rows, cols, first, count)
        : words(await safetensors.read(source, first * cols * width, count * cols * width), width);
    const arranged = arrangement === "rotary" ? interleaveHalves(block, headDim, cols) : block;
    yield new Uint8Array(arranged.buffer);
  }
}

type Words = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

function words(bytes: Uint8Array<ArrayBuffer>, width: number): Words {
  return width === 2 ? new Uint16Array(bytes.buffer) : new Uint32Array(bytes.buffer);
}

/** Rows `first` to `first + count` of the transpose of a matrix of `cols` rows and `rows` columns. */
function transposedRows(source: Words, rows: number, cols: number, first: number, count: number): Words {
  const block = source instanceof Uint16Array ? new Uint16Array(count * cols) : new Uint32Array(count * cols);
  for (let col = 0; col < cols; col++) {
    for (let row = 0; row < count; row++) block[row * cols + col] = source[col * rows + first + row] ?? 0;
  }
  return block;
}

/** Of each head's rows, puts row i and row i + headDim / 2 next to each other, as 2i and 2i + 1. */
function interleaveHalves(words: Words, headDim: number, cols: number): Words {
  const out = words.slice();
  const half = headDim / 2;
  for (let head = 0; head * cols < words.length; head += headDim) {
    for (let i = 0; i < headDim; i++) {
      const from = (head + (i % 2) * half + Math.floor(i / 2)) * cols;
      out.set(words.subarray(from, from + cols), (head + i) * cols);
    }
  }
  return out;
}

function sizeMismatch(source: SafeTensor, wanted: number): ThermoclineError {
  return new ThermoclineError(
    "DATA_LOSS",
    `${source.path}: tensor ${source.name} takes ${source.bytes} bytes where its shape and type ask for ${wanted}; ` +
      "get the model again",
  );
}
