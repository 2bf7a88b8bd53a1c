/** Stand-ins for what an executor computes with, so that its life can be tested without the addon. */
import { pino } from "pino";
import type { Device, DeviceEngine, Progress } from "../../cpu-executor/device.js";
import { Executor } from "../../cpu-executor/executor.js";
import type { LoadOrder } from "../../cpu-executor/plan.js";
import type { State } from "../../cpu-executor/state.js";
import {
  type Arena,
  type EnginePlan,
  type Exchange,
  type ExecutorKind,
  NativeError,
  type ServeOutcome,
} from "../../native/index.js";

export const SILENT = pino({ level: "silent" });

/** A plan for `executor` of two: layer 0 on the first, layer 1 on the second. */
export function fakePlan(executor: number = 0, executors: ExecutorKind[] = ["cpu", "gpu"]): EnginePlan {
  return {
    modelPath: "/models/fake.gguf",
    modelBytes: 2 ** 40 + 1,
    shape: {
      layers: 2,
      embd: 32,
      heads: 4,
      kvHeads: 2,
      headDim: 8,
      ff: 3,
      vocab: 100,
      norm: "rms",
      normEpsilon: 2 ** -17,
      ropeBase: 10_000,
      ropeScale: 0.5,
      ropeDims: 8,
      ropePairs: "adjacent",
      activation: "relu2",
      reluThreshold: 0.125,
      predictorThreshold: -0.25,
    },
    tensors: [
      { name: "token_embd.weight", type: "q8_0", offset: 4096, rows: 100, cols: 32 },
      { name: "blk.0.ffn_gate.weight", type: "q4_0", offset: 2 ** 33, rows: 3, cols: 32 },
    ],
    schedule: {
      executors,
      layers: [
        { attention: 0, neuronOwner: Uint8Array.of(0, 1, 1) },
        { attention: 1, neuronOwner: Uint8Array.of(1, 0, 0) },
      ],
      head: 1,
    },
    executor,
    slots: 2,
    contextLength: 64,
    maxRows: 16,
  };
}

export function fakeOrder(digest: string, arena: string = "arena"): LoadOrder {
  return { plan: fakePlan(), digest, arena: { name: arena, epoch: 1n } };
}

/** Everything that happened to the fakes, in order. */
export type Journal = string[];

export class FakeArena {
  constructor(
    readonly name: string,
    private readonly journal: Journal,
    readonly engineOf: () => FakeEngine | null,
  ) {}

  /** Used as what it stands in for. */
  get asArena(): Arena {
    return this as unknown as Arena;
  }

  abort(reason: string): void {
    this.journal.push(`abort ${this.name}`);
    this.engineOf()?.fail("aborted", reason);
  }

  close(): void {
    this.journal.push(`close ${this.name}`);
  }
}

export class FakeEngine implements DeviceEngine {
  readonly info = {
    memory: { weightBytes: 100, kvCacheBytes: 20, scratchBytes: 3 },
    instructionSet: "scalar" as const,
    threads: 2,
  };
  steps = 7;
  /** Ignores `stop`, as in the middle of a long step. */
  busy = false;
  exchanged = false;
  /** Makes staging wait until it is cancelled. */
  holdStage = false;
  private settle: ((outcome: ServeOutcome) => void) | null = null;

  constructor(
    readonly name: string,
    private readonly journal: Journal,
  ) {}

  serve(arena: Arena): Promise<ServeOutcome> {
    this.journal.push(`serve ${this.name} in ${arena.name}`);
    return new Promise((resolve) => {
      this.settle = resolve;
    });
  }

  async stage({ number }: Exchange, signal: AbortSignal | null): Promise<number> {
    this.journal.push(`stage ${number} on ${this.name}`);
    this.exchanged = false;
    if (this.holdStage) {
      await new Promise((resolve) => signal?.addEventListener("abort", resolve));
      throw new NativeError("cancelled", "staging an exchange was cancelled", null);
    }
    return 64;
  }

  fail(code: "aborted" | "internal", message: string, executor = 0): void {
    this.settle?.({ kind: "failed", failure: { executor, code, message } });
  }

  stop(): void {
    this.journal.push(`stop ${this.name}`);
    if (!this.busy) this.settle?.({ kind: "closed" });
  }

  async close(): Promise<void> {
    this.journal.push(`free ${this.name}`);
  }
}

/** Loads at once, unless told to hold on. */
export class FakeDevice implements Device {
  readonly kind = "cpu";
  readonly name = "cpu";
  readonly card = null;
  readonly budgetBytes = 1 << 20;
  readonly threads = 2;
  endsWithStep = false;
  readonly engines: FakeEngine[] = [];
  /** Makes loads wait until they are cancelled. */
  hold = false;
  error: Error | null = null;

  constructor(private readonly journal: Journal) {}

  get engine(): FakeEngine | null {
    return this.engines.at(-1) ?? null;
  }

  async load(_plan: EnginePlan, onProgress: Progress, signal: AbortSignal): Promise<DeviceEngine> {
    const name = `engine ${this.engines.length}`;
    this.journal.push(`load ${name}`);
    onProgress(1, 100);
    if (this.hold) {
      await new Promise((resolve) => signal.addEventListener("abort", resolve));
      throw new NativeError("cancelled", "the load was cancelled", null);
    }
    if (this.error !== null) throw this.error;
    onProgress(100, 100);
    const engine = new FakeEngine(name, this.journal);
    this.engines.push(engine);
    return engine;
  }
}

/** An executor on fakes. */
export function fakeExecutor() {
  const journal: Journal = [];
  const states: State["kind"][] = [];
  const device = new FakeDevice(journal);
  const attach = (name: string): Arena => {
    if (name === "missing") throw new NativeError("not-found", `there is no arena ${name}`, "name");
    journal.push(`attach ${name}`);
    return new FakeArena(name, journal, () => device.engine).asArena;
  };
  const executor = new Executor(device, attach, SILENT, ({ kind }) => states.push(kind));
  return { executor, device, journal, states };
}
