/** Where a token's time went, by phase. */
import { PHASES, type Phase } from "../native/index.js";
import { type Figure, medianFigure } from "./benchmark.js";
import type { RecordedStep } from "./recording-runner.js";
import { distribution } from "./statistics.js";
import { type TimingRecord, timingRecords } from "./timing-records.js";

/** Of one decoded token, in microseconds. */
export interface TokenTimes {
  /** From the step before's end to this one's: what a reader waits. */
  totalUs: number;
  /** Each phase over all layers and executors, whose phases may overlap; none for a phase that did not occur. */
  phasesUs: Map<Phase, number>;
  /** In which no executor recorded anything: the coordinator, and the ways to and from it. */
  outsideUs: number;
}

/** For each but the first. @param steps of one request, in order */
export function tokenTimes(steps: readonly RecordedStep[]): TokenTimes[] {
  return steps.slice(1).map((step, index) => {
    const fromNs = steps[index]?.endNs ?? step.startNs;
    const records = timingRecords(step);
    const phasesUs = new Map<Phase, number>();
    for (const { phase, startNs, endNs } of records) {
      phasesUs.set(phase, (phasesUs.get(phase) ?? 0) + (endNs - startNs) / 1e3);
    }
    const totalNs = step.endNs - fromNs;
    return {
      totalUs: totalNs / 1e3,
      phasesUs,
      outsideUs: (totalNs - coveredNs(records, fromNs, step.endNs)) / 1e3,
    };
  });
}

/** How much of a stretch of time lies within any of the records. */
function coveredNs(records: readonly TimingRecord[], fromNs: number, toNs: number): number {
  let covered = 0;
  let reachedNs = fromNs;
  for (const { startNs, endNs } of [...records].sort((a, b) => a.startNs - b.startNs)) {
    const endsNs = Math.min(endNs, toNs);
    covered += Math.max(endsNs - Math.max(startNs, reachedNs), 0);
    reachedNs = Math.max(reachedNs, endsNs);
  }
  return covered;
}

export function phaseFigures(where: string, times: readonly TokenTimes[]): Figure[] {
  const figure = (name: string, of: (token: TokenTimes) => number) =>
    medianFigure(`${name}, ${where}`, "µs", distribution(times.map(of)));
  const occurring = PHASES.filter((phase) => times.some(({ phasesUs }) => phasesUs.has(phase)));
  return [
    figure("a token's time", ({ totalUs }) => totalUs),
    ...occurring.map((phase) => figure(`its ${phase}`, ({ phasesUs }) => phasesUs.get(phase) ?? 0)),
    figure("its time outside of phases", ({ outsideUs }) => outsideUs),
  ];
}
