/** Gets all executors of a group to serve one new arena. */
import {
  Arena,
  type InstructionSet,
  type MemoryNeeds,
  type Observation,
  type Schedule,
} from "../../native/index.js";
import type { Loaded } from "../../proto/gen/thermocline/v1/executor_pb.js";
import type { Model } from "../model/model.js";
import { enginePlan } from "../placement/schedule.js";
import type { StepLimits } from "../schedule/step.js";
import { loadRequest } from "./load-request.js";
import type { ExecutorInfo, Member } from "./member.js";

/** The part of a model that executors have to know. */
export type ModelFile = Pick<Model, "path" | "fileBytes" | "shape" | "tensors">;

/** An executor that holds its share of the model. */
export interface LoadedExecutor extends ExecutorInfo {
  name: string;
  memory: MemoryNeeds;
  instructionSet: InstructionSet;
}

export interface LoadOptions {
  model: ModelFile;
  limits: StepLimits;
  schedule: Schedule;
  /** What the arena has room to record. */
  observation: Observation;
  /** Longest time for one Load. */
  timeoutMs: number;
  /** Over all executors. */
  onProgress: (bytesDone: number, bytesTotal: number) => void;
}

/** Runs `work` for each; the first failure aborts `control` for the others, and is thrown when all have ended. */
export async function allOrAbort<T, R>(
  items: readonly T[],
  control: AbortController,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const settled = await Promise.allSettled(
    items.map((item, index) =>
      work(item, index).catch((error: unknown) => {
        control.abort(error);
        throw error;
      }),
    ),
  );
  return settled.map((outcome) => {
    if (outcome.status === "rejected") throw control.signal.reason;
    return outcome.value;
  });
}

/** @returns an arena that every member serves and whose name is gone already */
export async function loadAll(
  members: readonly Member[],
  infos: readonly ExecutorInfo[],
  control: AbortController,
  options: LoadOptions,
): Promise<{ arena: Arena; executors: LoadedExecutor[] }> {
  const { model, limits, schedule, observation, timeoutMs } = options;
  const { layers, embd, ff, vocab } = model.shape;
  const { maxRows, maxLogitRows } = limits;
  const arena = Arena.create({
    executors: members.length,
    layers,
    embd,
    ff,
    vocab,
    maxRows,
    maxLogitRows,
    observation,
  });
  try {
    const progress = new ProgressSum(members.length, options.onProgress);
    const loaded = await allOrAbort(members, control, (member, executor) => {
      const plan = enginePlan(model, schedule, executor, limits);
      const report = (done: number, total: number) => progress.report(executor, done, total);
      return member.load(loadRequest(plan, arena), report, timeoutMs, control.signal);
    });
    arena.unlink();
    return { arena, executors: members.flatMap((member, i) => describe(member, infos[i], loaded[i])) };
  } catch (error) {
    arena.abort("the load failed");
    arena.close();
    throw error;
  }
}

function describe(
  { name }: Member,
  info: ExecutorInfo | undefined,
  loaded: Loaded | undefined,
): LoadedExecutor[] {
  if (info === undefined || loaded === undefined) return [];
  const { weightBytes, kvCacheBytes, scratchBytes, threads } = loaded;
  const memory = {
    weightBytes: Number(weightBytes),
    kvCacheBytes: Number(kvCacheBytes),
    scratchBytes: Number(scratchBytes),
  };
  return [{ ...info, name, memory, threads, instructionSet: loaded.instructionSet as InstructionSet }];
}

/** Progress of several loads as that of one. */
class ProgressSum {
  private readonly parts: { done: number; total: number }[];

  constructor(
    count: number,
    private readonly onProgress: (bytesDone: number, bytesTotal: number) => void,
  ) {
    this.parts = Array.from({ length: count }, () => ({ done: 0, total: 0 }));
  }

  report(index: number, done: number, total: number): void {
    this.parts[index] = { done, total };
    this.onProgress(sum(this.parts, "done"), sum(this.parts, "total"));
  }
}

function sum(parts: readonly { done: number; total: number }[], field: "done" | "total"): number {
  return parts.reduce((bytes, part) => bytes + part[field], 0);
}
