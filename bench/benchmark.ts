/** What every benchmark is given and gives back. */
import type { Machine } from "./machine.js";
import type { Distribution } from "./statistics.js";

export interface BenchmarkContext {
  /** Measured turns of each contender; one more before them warms it up. */
  runs: number;
  /** Tokens generated in a turn. */
  tokens: number;
  modelPath: string;
  machine: Machine;
  /** Tells the person waiting what is going on. */
  progress: (text: string) => void;
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

/** Median and 99th percentile. */
export function latencyFigures(name: string, unit: string, values: Distribution): Figure[] {
  return [
    medianFigure(`${name}, p50`, unit, values),
    { name: `${name}, p99`, value: values.p99, unit, quartiles: null, count: values.count },
  ];
}
