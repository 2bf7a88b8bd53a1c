/** Decoding one request: tokens a second, and how close that comes to what memory allows. */
import { type Benchmark, type Figure, medianFigure } from "./benchmark.js";
import { type Device, type Generation, GREEDY, withStacks } from "./stack-under-test.js";
import { distribution, interleaved } from "./statistics.js";
import { timingRecords } from "./timing-records.js";

const DEVICES: readonly Device[] = ["off", "host"];

export const decode: Benchmark = async ({ runs, tokens, modelPath, machine, progress, signal }) => {
  const options = DEVICES.map((device) => ({ modelPath, device, otlpEndpoint: null }));
  return withStacks(options, async (stacks) => {
    const contenders = stacks.map((stack, index) => ({
      stack,
      device: DEVICES[index] ?? "off",
      rates: [] as number[],
      work: [] as TokenWork[],
    }));
    for (const { stack } of contenders) await stack.generate(tokens, GREEDY, signal);
    for (const [turn, { stack, rates, work }] of interleaved(contenders, runs).entries()) {
      progress(`decode: turn ${turn + 1} of ${runs * contenders.length}`);
      const generation = await stack.generate(tokens, GREEDY, signal);
      rates.push(generation.summary.decodeTokensPerS);
      // Greedy turns all touch the same weights.
      if (work.length === 0) work.push(tokenWork(generation));
    }
    return contenders.flatMap(({ device, rates, work }) =>
      work.flatMap((touched) => figures(device, rates, touched, machine.allCoresBytesPerS)),
    );
  });
};

/** Means over the decode steps of a request. */
export interface TokenWork {
  /** Weight bytes read for a token. */
  bytes: number;
  /** Neurons that fired for a token, over all layers. */
  active: number;
  /** Neurons of the model. */
  neurons: number;
}

export function tokenWork({ steps }: Pick<Generation, "steps">): TokenWork {
  const sums = { bytes: 0, active: 0, neurons: 0 };
  for (const record of steps.flatMap(timingRecords)) {
    sums.bytes += record.bytes;
    if (record.phase !== "hot" && record.phase !== "cold") continue;
    sums.active += record.active;
    sums.neurons += record.placed;
  }
  const count = steps.length;
  return { bytes: sums.bytes / count, active: sums.active / count, neurons: sums.neurons / count };
}

function figures(device: Device, rates: readonly number[], work: TokenWork, bytesPerS: number): Figure[] {
  const speed = distribution(rates);
  const once = (name: string, value: number, unit: string): Figure => ({
    name: `${name}, --gpu ${device}`,
    value,
    unit,
    quartiles: null,
    count: 1,
  });
  const reached = speed.median * work.bytes;
  return [
    medianFigure(`decoding, --gpu ${device}`, "tokens/s", speed),
    once("weights read a token", work.bytes / 1e6, "MB"),
    once("weights read", reached / 1e9, "GB/s"),
    once("share of the memory's bandwidth", (100 * reached) / bytesPerS, "%"),
    once("active neurons a token", work.active, `of ${work.neurons}`),
  ];
}
