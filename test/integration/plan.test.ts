/** What `thermocline plan` finds out about the machine it runs on, and keeps. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { CpuTime } from "../../coordinator/cpu-time.js";
import { bundledModelPath } from "../../coordinator/model/bundled.js";
import { runHighs } from "../../coordinator/placement/highs.js";
import { type PlanOptions, runPlan } from "../../coordinator/plan.js";
import { ENTRIES } from "../support/executor-processes.js";
import { temporaryFolder } from "../support/temporary-folder.js";

const folder = temporaryFolder();
const OPTIONS: PlanOptions = {
  modelPath: bundledModelPath(),
  activation: null,
  reluThreshold: null,
  predictor: "auto",
  gpu: "host",
  vramBudgetBytes: 4 * 1024 ** 2,
  cpuExecutors: 1,
  threads: 2,
  repack: true,
  placementPath: null,
  profilePath: null,
  executorAddresses: [],
  machine: null,
  remeasure: false,
  contextLength: 64,
  slots: 1,
  groupSize: 64,
  position: null,
};

/** A plan on CPUs of whose time others have a share, with what it said and kept. */
async function plan(cacheFolder: string, others: number) {
  const stages: string[] = [];
  const warnings: string[] = [];
  const times: CpuTime[] = [
    { all: 100, used: 50, own: 50 },
    { all: 300, used: 150 + 200 * others, own: 150 },
  ];
  const report = await runPlan(OPTIONS, {
    onStage: (text, limitMs) => stages.push(limitMs === undefined ? text : `${text}, ${limitMs} ms`),
    warn: (line) => warnings.push(line),
    signal: new AbortController().signal,
    entries: ENTRIES,
    run: runHighs,
    cacheFolder,
    cpuTime: () => times.shift() ?? { all: 0, used: 0, own: 0 },
  });
  const kept = readdirSync(cacheFolder).filter((name) => name.startsWith("measured-"));
  return { report, stages, warnings, kept };
}

test("a measurement is kept when others left the CPUs alone, and a step holds the time to the next one", async () => {
  const cache = join(folder, "quiet");
  const first = await plan(cache, 0.1);
  expect(first.warnings).toEqual([]);
  expect(first.kept).toHaveLength(1);
  expect(first.stages).toEqual([
    "reading the model",
    "measuring 5 layers on the executors, 1 of 2",
    "measuring 5 layers on the executors, 2 of 2",
    "solving for the placement, 60000 ms",
    "comparing with larger budgets",
  ]);
  const { machine } = first.report.known;
  expect(machine.source).toBe("measured");
  expect(machine.stepUs).toBeGreaterThan(0);
  expect(first.report.placed.prediction.stepS).toBeCloseTo(machine.stepUs / 1e6, 12);

  const second = await plan(cache, 0.9);
  expect(second.stages).not.toContain("measuring 5 layers on the executors, 1 of 2");
  expect(second.report.known).toEqual(first.report.known);
  expect(second.report.placed.choice).toEqual(first.report.placed.choice);
});

test("one taken while others had more than 15 % of the CPUs is said to be doubtful, and not kept", async () => {
  const { report, warnings, kept } = await plan(join(folder, "busy"), 0.37);
  expect(warnings).toEqual([
    "other processes took 37 % of the CPUs while this machine was measured, so what was measured is used for this " +
      "plan only; plan again when the machine is quiet",
  ]);
  expect(kept).toEqual([]);
  expect(report.known.machine.source).toBe("measured");
});
