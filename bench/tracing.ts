/**
 * What tracing costs: the time for a token with an OTLP receiver at the default sampling, against without one. Two
 * stacks without one compete as well: how much they differ is what this measurement cannot see. What tracing's code
 * takes of the coordinator's thread is far smaller than that, so the profiler is asked for it.
 */
import { setTimeout as delay } from "node:timers/promises";
import { ThermoclineError } from "../proto/errors.js";
import { type Benchmark, type BenchmarkContext, type Figure, medianFigure } from "./benchmark.js";
import type { SinkTally } from "./otlp-sink.js";
import { startSink } from "./sink-process.js";
import {
  contendingDevices,
  type Device,
  GREEDY,
  type StackUnderTest,
  stackOptions,
  withStacks,
} from "./stack-under-test.js";
import { distribution, interleaved } from "./statistics.js";
import { profiled, shareOf } from "./thread-time.js";

/** Longer than spans wait for their batch: what a turn leaves to export is then as much as it found. */
const SETTLE_MS = 1_200;
const TURN_MS = 2_000;

export const tracing: Benchmark = async (context) => {
  const figures: Figure[] = [];
  for (const device of contendingDevices({ ...context, peer: null }))
    figures.push(...(await overheadOn(device, context)));
  return figures;
};

async function overheadOn(device: Device, context: BenchmarkContext): Promise<Figure[]> {
  const { runs, progress, signal } = context;
  const off: Turn[] = [];
  const offAgain: Turn[] = [];
  const on: Turn[] = [];
  const shares: number[] = [];
  const sink = await startSink();
  const stack = (otlpEndpoint: string | null) => stackOptions(context, device, { otlpEndpoint });
  let tally: SinkTally;
  try {
    await withStacks([stack(null), stack(null), stack(sink.url)], async (stacks) => {
      const turns = [off, offAgain, on];
      const contenders = stacks.map((stack, index) => ({ stack, turns: turns[index] ?? [] }));
      for (const [turn, contender] of interleaved(contenders, runs).entries()) {
        progress(`tracing, --gpu ${device}: turn ${turn + 1} of ${runs * contenders.length}`);
        await generateFor(SETTLE_MS, contender.stack, context);
        contender.turns.push(await generateFor(TURN_MS, contender.stack, context));
        await delay(SETTLE_MS, null, { signal });
      }
      const [, , traced] = stacks;
      for (let run = 0; run < runs && traced !== undefined; run++) {
        progress(`tracing, --gpu ${device}: profile ${run + 1} of ${runs}`);
        const profile = await profiled(async () => void (await generateFor(TURN_MS, traced, context)));
        shares.push(100 * shareOf(profile, isTelemetry));
      }
    });
  } finally {
    tally = await sink.stop();
  }
  if (tally.traceExports === 0) {
    throw new ThermoclineError(
      "INTERNAL",
      "no trace arrived, so its cost was not measured; see the log above",
    );
  }
  const where = `--gpu ${device}`;
  return [
    medianFigure(`tracing's share of a token's time, ${where}`, "%", distribution(overheads(off, on))),
    medianFigure(`the same, untraced by untraced, ${where}`, "%", distribution(overheads(off, offAgain))),
    medianFigure(`tracing's share of the coordinator's thread, ${where}`, "%", distribution(shares)),
    medianFigure(`coordinator's CPU time a token, untraced, ${where}`, "µs", distribution(cpuUs(off))),
    medianFigure(`coordinator's CPU time a token, traced, ${where}`, "µs", distribution(cpuUs(on))),
  ];
}

/** The project's own telemetry, the SDK, and the gRPC client, which nothing else of a running stack calls a token. */
function isTelemetry(url: string): boolean {
  return /\/coordinator\/telemetry\/|\/@opentelemetry\/|\/@grpc\/grpc-js\//.test(url);
}

/** Means over the tokens of one turn. */
export interface Turn {
  usPerToken: number;
  /** The coordinator runs in this process. */
  cpuUsPerToken: number;
}

async function generateFor(
  ms: number,
  stack: StackUnderTest,
  { tokens, signal }: BenchmarkContext,
): Promise<Turn> {
  const start = performance.now();
  const cpuStart = process.cpuUsage();
  let generated = 0;
  while (performance.now() - start < ms) {
    await stack.generate({ prompt: stack.prompt, tokens, sampling: GREEDY, signal });
    generated += tokens;
  }
  const { user, system } = process.cpuUsage(cpuStart);
  return {
    usPerToken: (1000 * (performance.now() - start)) / generated,
    cpuUsPerToken: (user + system) / generated,
  };
}

/** How much longer a token takes than in the baseline's turn of the same round, in percent. */
export function overheads(baseline: readonly Turn[], turns: readonly Turn[]): number[] {
  return turns.map(({ usPerToken }, round) => 100 * (usPerToken / (baseline[round]?.usPerToken ?? NaN) - 1));
}

function cpuUs(turns: readonly Turn[]): number[] {
  return turns.map(({ cpuUsPerToken }) => cpuUsPerToken);
}
