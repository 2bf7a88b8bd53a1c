/** An arena and the engines of a schedule, all in this process: the engines' tests without coordinator and gRPC. */
import type { Model } from "../../coordinator/model/model.js";
import {
  Arena,
  Engine,
  type EngineOptions,
  type FiredCounts,
  type LayerActivations,
  type Observation,
  type Schedule,
  type ServeOutcome,
  type StepRow,
} from "../../native/index.js";

export interface StackOptions {
  slots: number;
  contextLength: number;
  maxRows: number;
  observation: Observation;
  engine: EngineOptions;
}

const DEFAULTS: StackOptions = {
  slots: 3,
  contextLength: 64,
  maxRows: 64,
  observation: "none",
  engine: { residency: "mapped", budgetBytes: 0, threads: 1, pinTo: [], instructionSet: null, library: null },
};

/** A deadline, not an expectation: steps of the models under test take milliseconds. */
const STEP_TIMEOUT_MS = 30_000;

interface Executor {
  engine: Engine;
  arena: Arena;
  outcome: Promise<ServeOutcome>;
}

export class EngineStack {
  private constructor(
    private readonly arena: Arena,
    private readonly executors: Executor[],
  ) {}

  static async start(
    model: Model,
    schedule: Schedule,
    {
      engine,
      ...sizes
    }: Partial<Omit<StackOptions, "engine">> & { engine?: Partial<EngineOptions> | undefined } = {},
  ): Promise<EngineStack> {
    const { slots, contextLength, maxRows, observation } = { ...DEFAULTS, ...sizes };
    const { layers, embd, ff, vocab } = model.shape;
    const arena = Arena.create({
      executors: schedule.executors.length,
      layers,
      embd,
      ff,
      vocab,
      maxRows,
      maxLogitRows: maxRows,
      observation,
    });
    const stack = new EngineStack(arena, []);
    try {
      for (const executor of schedule.executors.keys()) {
        const loaded = await Engine.load(
          {
            modelPath: model.path,
            modelBytes: model.fileBytes,
            shape: model.shape,
            tensors: model.tensors,
            schedule,
            executor,
            slots,
            contextLength,
            maxRows,
          },
          { ...DEFAULTS.engine, ...engine },
          () => undefined,
          null,
        );
        const joined = Arena.attach(arena.name, arena.epoch);
        stack.executors.push({ engine: loaded, arena: joined, outcome: loaded.serve(joined) });
      }
      arena.unlink();
      return stack;
    } catch (error) {
      await stack.close();
      throw error;
    }
  }

  /** Computes one step. @returns the logits of the rows that want them, in order */
  async run(rows: readonly StepRow[], observed = false): Promise<Float32Array[]> {
    const failure = await this.arena.wait(this.arena.submit(rows, observed), STEP_TIMEOUT_MS);
    if (failure !== null) {
      throw new Error(`executor ${failure.executor} failed: ${failure.code}: ${failure.message}`);
    }
    return rows.filter((row) => row.wantsLogits).map((_, index) => this.arena.logits(index).slice());
  }

  takeCounts(): FiredCounts {
    return this.arena.takeCounts();
  }

  activations(layer: number): LayerActivations {
    return this.arena.activations(layer);
  }

  /** Stops every engine; rejects when one had failed by itself. */
  async close(): Promise<void> {
    for (const { engine } of this.executors) engine.stop();
    const outcomes = await Promise.all(this.executors.map(({ outcome }) => outcome));
    for (const { engine, arena } of this.executors) {
      await engine.close();
      arena.close();
    }
    this.arena.close();
    for (const outcome of outcomes) {
      if (outcome.kind === "failed")
        throw new Error(`an engine ended its service: ${outcome.failure.message}`);
    }
  }
}
