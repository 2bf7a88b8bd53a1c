/** How many neurons fire, by the timing records of steps. */
import { type ModelShape, PHASES } from "../native/index.js";
import { FIELD, field, RECORD_WIDTH } from "./telemetry/timing-records.js";

/** (row, neuron) pairs of one layer. */
export interface LayerCounts {
  fired: number;
  /** Taken for active by the predictor. */
  predicted: number;
}

export class ActivityCounts {
  readonly layers: readonly LayerCounts[];
  private rows = 0;

  constructor(private readonly shape: Pick<ModelShape, "layers" | "ff">) {
    this.layers = Array.from({ length: shape.layers }, () => ({ fired: 0, predicted: 0 }));
  }

  /** Adds a step of `rows` rows. */
  add(timings: Float64Array, rows: number): void {
    this.rows += rows;
    for (let at = 0; at + RECORD_WIDTH <= timings.length; at += RECORD_WIDTH) {
      const layer = this.layers[field(timings, at, FIELD.layer)];
      if (layer === undefined) continue;
      const phase = PHASES[field(timings, at, FIELD.phase)];
      const active = field(timings, at, FIELD.active);
      if (phase === "predict") layer.predicted += active;
      else if (phase === "hot" || phase === "cold") layer.fired += active;
    }
  }

  /** The share of all pairs over all layers; NaN before the first step. */
  share(of: keyof LayerCounts): number {
    const pairs = this.rows * this.shape.layers * this.shape.ff;
    return this.layers.reduce((sum, layer) => sum + layer[of], 0) / pairs;
  }
}
