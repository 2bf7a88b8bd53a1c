/** The tensors of a synthetic model, each with what fills its rows. */
import type { WeightType } from "../../../native/index.js";
import type { GgufTensorSpec } from "../gguf-writer.js";
import { WEIGHT_TYPES } from "../tensor-types.js";
import { type Calibration, CONSTANT } from "./calibration.js";
import { LayerNeurons, type RowSource } from "./layer-neurons.js";
import type { SynthOptions } from "./options.js";
import { WeightStream } from "./random.js";

export interface SynthTensor {
  spec: GgufTensorSpec;
  type: WeightType;
  rows: number;
  /** Elements a row. */
  cols: number;
  /** Starts the tensor's rows from the first; costs nothing before it is called. */
  open: () => RowSource;
}

/** In the order of the layers, embedding first, as converters write them. */
export function planTensors(options: SynthOptions, calibration: Calibration): SynthTensor[] {
  const { type, seed, predictor, downByNeuron } = options;
  const { layers, embd, heads, kvHeads, ff, vocab } = options.shape;
  const { reserved } = calibration;
  const kv = (embd / heads) * kvHeads;
  const planned: SynthTensor[] = [];

  const add = (name: string, rows: number, cols: number, stored: WeightType, open: () => RowSource): void => {
    const dims = rows === 1 ? [cols] : [cols, rows];
    planned.push({ spec: { name, type: WEIGHT_TYPES[stored], dims }, type: stored, rows, cols, open });
  };
  const random = (name: string, rows: number, cols: number, scale: number, silent: Silent = {}): void =>
    add(name, rows, cols, type, () => randomRows(new WeightStream(seed, name), scale, silent));
  const norm = (name: string, silent: number): void => add(name, 1, embd, "f32", () => ones(silent));

  add("token_embd.weight", vocab, embd, type, () =>
    embeddingRows(new WeightStream(seed, "token_embd.weight"), calibration),
  );
  for (let layer = 0; layer < layers; layer++) {
    const name = (part: string) => `blk.${layer}.${part}.weight`;
    const neurons = () => new LayerNeurons(options, calibration, layer);
    // Attention and the head do not see the constant, which would be a bias to them, too.
    norm(name("attn_norm"), reserved);
    random(name("attn_q"), embd, embd, calibration.query);
    random(name("attn_k"), kv, embd, calibration.query);
    random(name("attn_v"), kv, embd, calibration.value);
    random(name("attn_output"), embd, embd, calibration.attentionOutput, { rows: reserved });
    norm(name("ffn_norm"), 0);
    add(name("ffn_gate"), ff, embd, type, () => neurons().gate());
    random(name("ffn_up"), ff, embd, calibration.up, { cols: reserved });
    if (downByNeuron) random(name("ffn_down_t"), ff, embd, calibration.down, { cols: reserved });
    else random(name("ffn_down"), embd, ff, calibration.down, { rows: reserved });
    if (predictor !== null) {
      add(name("fc1"), predictor.rank, embd, predictor.type, () => neurons().fc1());
      add(name("fc2"), ff, predictor.rank, predictor.type, () => neurons().fc2());
    }
  }
  norm("output_norm.weight", reserved);
  random("output.weight", vocab, embd, calibration.output);
  return planned;
}

/** How many rows, or columns of each row, from the first on are zero. */
interface Silent {
  rows?: number;
  cols?: number;
}

function randomRows(stream: WeightStream, scale: number, { rows = 0, cols = 0 }: Silent): RowSource {
  return (row, numbers, scales) => {
    stream.fill(numbers);
    numbers.fill(0, 0, row < rows ? numbers.length : cols);
    scales.fill(scale);
  };
}

function embeddingRows(stream: WeightStream, { embedding, reserved }: Calibration): RowSource {
  return (_row, numbers, scales) => {
    stream.fill(numbers);
    numbers.fill(0, 0, reserved);
    if (reserved > 0) numbers[0] = CONSTANT;
    scales.fill(embedding);
  };
}

function ones(silent: number): RowSource {
  return (_row, numbers, scales) => {
    numbers.fill(1);
    numbers.fill(0, 0, silent);
    scales.fill(1);
  };
}
