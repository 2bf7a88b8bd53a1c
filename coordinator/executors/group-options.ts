/** What a group of executors is made of, and what it made of that. */
import type { Logger } from "pino";
import type { Arena, Observation, Schedule } from "../../native/index.js";
import type { StepLimits } from "../schedule/step.js";
import type { GroupState } from "./group-state.js";
import type { LoadedExecutor, ModelFile } from "./load.js";
import type { ExecutorInfo, ExecutorSource } from "./member.js";

/** Decides who computes what, knowing the executors in their order. The same executors must give the same schedule. */
export type Planner = (executors: readonly ExecutorInfo[]) => Schedule | Promise<Schedule>;

export interface GroupOptions {
  /** Names such as "gpu" and "cpu-1"; unique. */
  executors: readonly { name: string; source: ExecutorSource }[];
  model: ModelFile;
  limits: StepLimits;
  /** What executors record of observed steps. */
  observation: Observation;
  plan: Planner;
  /** Longest time for one step; an executor that hangs in it is killed and restarted. */
  stepTimeoutMs: number;
  /** Longest time for one Load. */
  loadTimeoutMs: number;
  /** How long `open` waits for executors that others start. */
  connectTimeoutMs: number;
  log: Logger;
  /** Gets each line that a spawned executor logs. */
  onExecutorLog: (name: string, line: string) => void;
  onState: (state: GroupState) => void;
}

export const GROUP_DEFAULTS = {
  observation: "none" as Observation,
  stepTimeoutMs: 30_000,
  loadTimeoutMs: 600_000,
  connectTimeoutMs: 30_000,
};

/** What observed steps left in the arena. */
export type ObservedSteps = Pick<Arena, "takeCounts" | "activations">;

/** Who computes what, and what each executor holds for it. */
export interface Placement {
  schedule: Schedule;
  executors: readonly LoadedExecutor[];
}
