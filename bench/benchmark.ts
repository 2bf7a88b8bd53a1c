/** What every benchmark is given and gives back. */
import type { PredictorUse } from "../coordinator/model/predictor.js";
import type { PeerModel } from "./peer-model.js";
import type { Device } from "./stack-under-test.js";
import type { Distribution } from "./statistics.js";

export interface BenchmarkContext {
  /** Measured turns of each contender; one more before them warms it up. */
  runs: number;
  /** Tokens generated in a turn. */
  tokens: number;
  /** Lengths of the prompts that are read. */
  promptTokens: readonly number[];
  modelPath: string;
  predictor: PredictorUse;
  /** What hot neurons run on, those asked for; null takes each benchmark's own. */
  devices: readonly Device[] | null;
  /** Memory of the GPU executor, in bytes; null as a server has it. */
  vramBudgetBytes: number | null;
  /** Threads that each contender computes with. */
  threads: number;
  /** What is measured beside us; null measures us alone. */
  peer: PeerModel | null;
  /** Its layers on a CUDA card; null looks for the fastest number within the budget. */
  peerGpuLayers: number | null;
  /** Memory that so many threads can read in a second: the floor under a token's time. */
  readBytesPerS: number;
  /** Tells the person waiting what is going on. */
  progress: (text: string) => void;
  /** Puts a line above the report's table: what figures have to be read with. */
  remark: (text: string) => void;
  /** Ends the benchmark, which then leaves nothing behind. */
  signal: AbortSignal;
}

/** One line of the report. */
export interface Figure {
  name: string;
  value: number;
  unit: string;
  /** The middle half of what `value` is the median of; null for what is no median. */
  quartiles: [number, number] | null;
  /** How many measurements it was made from. */
  count: number;
}

export type Benchmark = (context: BenchmarkContext) => Promise<Figure[]>;

export function medianFigure(name: string, unit: string, { median, q1, q3, count }: Distribution): Figure {
  return { name, value: median, unit, quartiles: [q1, q3], count };
}

/** What was measured once, or is no median. */
export function singleFigure(name: string, unit: string, value: number): Figure {
  return { name, value, unit, quartiles: null, count: 1 };
}

/** Median and 99th percentile. */
export function latencyFigures(name: string, unit: string, values: Distribution): Figure[] {
  return [
    medianFigure(`${name}, p50`, unit, values),
    { name: `${name}, p99`, value: values.p99, unit, quartiles: null, count: values.count },
  ];
}
