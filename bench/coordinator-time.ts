/** The coordinator's own time for a token: what passes between one step's end and the next one's start. */
import { type Benchmark, type Figure, latencyFigures } from "./benchmark.js";
import type { RecordedStep } from "./recording-runner.js";
import {
  contendingDevices,
  GREEDY,
  SAMPLED,
  type StackUnderTest,
  stackOptions,
  withStacks,
} from "./stack-under-test.js";
import { distribution, interleaved } from "./statistics.js";
import { timingRecords } from "./timing-records.js";

const SAMPLINGS = [
  { sampling: GREEDY, sampled: "greedy" },
  { sampling: SAMPLED, sampled: "temperature 0.8, top-p 0.95" },
];

export const coordinatorTime: Benchmark = async (context) => {
  const { runs, tokens, progress, signal } = context;
  const devices = contendingDevices({ ...context, peer: null });
  const options = devices.map((device) => stackOptions(context, device));
  return withStacks(options, async (stacks) => {
    const contenders = stacks.flatMap((stack, index) =>
      SAMPLINGS.map((sampling) => ({
        ...sampling,
        stack,
        name: `--gpu ${devices[index]}, ${sampling.sampled}`,
        gaps: [] as StepGap[],
      })),
    );
    const turn = async (stack: StackUnderTest, sampling: typeof GREEDY) =>
      stepGaps((await stack.generate({ prompt: stack.prompt, tokens, sampling, signal })).steps);
    for (const { stack, sampling } of contenders) await turn(stack, sampling);
    for (const [index, { stack, sampling, gaps }] of interleaved(contenders, runs).entries()) {
      progress(`coordinator: turn ${index + 1} of ${runs * contenders.length}`);
      gaps.push(...(await turn(stack, sampling)));
    }
    return contenders.flatMap(({ name, gaps }) => figures(name, gaps));
  });
};

/** The three parts of the time between two steps' work, in nanoseconds. */
export interface StepGap {
  /** From the last record of one step to the moment that the coordinator knows of its end. */
  wakeNs: number;
  /** From there to the submission of the next step. */
  ownNs: number;
  /** From there to the first record of the next step. */
  startNs: number;
}

/** @param steps of one request, in order */
export function stepGaps(steps: readonly RecordedStep[]): StepGap[] {
  return steps.slice(1).map((step, index) => {
    const before = steps[index] ?? step;
    const lastNs = Math.max(...timingRecords(before).map(({ endNs }) => endNs));
    const firstNs = Math.min(...timingRecords(step).map(({ startNs }) => startNs));
    return {
      wakeNs: before.endNs - lastNs,
      ownNs: step.startNs - before.endNs,
      startNs: firstNs - step.startNs,
    };
  });
}

function figures(name: string, gaps: readonly StepGap[]): Figure[] {
  const microseconds = (of: (gap: StepGap) => number) => distribution(gaps.map((gap) => of(gap) / 1e3));
  return [
    ...latencyFigures(
      `coordinator's own time a token, ${name}`,
      "µs",
      microseconds((gap) => gap.ownNs),
    ),
    ...latencyFigures(
      `last phase's end to coordinator awake, ${name}`,
      "µs",
      microseconds((gap) => gap.wakeNs),
    ),
    ...latencyFigures(
      `submission to first phase, ${name}`,
      "µs",
      microseconds((gap) => gap.startNs),
    ),
  ];
}
