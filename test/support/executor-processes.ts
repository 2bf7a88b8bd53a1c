/** Executor processes and groups of them for integration tests, with everything they could leave behind in view. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ExecutorGroup, GROUP_DEFAULTS, type GroupOptions } from "../../coordinator/executors/group.js";
import type { ExecutorSource } from "../../coordinator/executors/member.js";
import type { Model } from "../../coordinator/model/model.js";
import type { StepResult } from "../../coordinator/schedule/step.js";
import type { ExecutorKind, Schedule, StepRow } from "../../native/index.js";
import { parseAddress } from "../../proto/address.js";
import { SILENT } from "./fake-executor.js";

export const DIST = fileURLToPath(new URL("../../dist", import.meta.url));
export const ENTRIES: Record<ExecutorKind, string> = {
  cpu: join(DIST, "cpu-executor/main.js"),
  gpu: join(DIST, "gpu-executor/main.js"),
};

/** More than a test ever waits; a deadline, not an expectation. */
const PATIENCE_MS = 30_000;

export const LIMITS = { maxRows: 16, maxLogitRows: 16, slots: 2, contextLength: 32 };

/** The options every test executor gets: one thread, unpinned, for two cores are shared by all tests. */
export const ARGS: Record<ExecutorKind, string[]> = {
  cpu: ["--threads", "1", "--pin", "none"],
  gpu: ["--threads", "1", "--pin", "none", "--device", "host", "--vram-budget", "64MiB"],
};

export function spawned(kind: ExecutorKind, args: string[] = ARGS[kind]): ExecutorSource {
  return { kind: "spawn", executor: kind, entry: ENTRIES[kind], args };
}

export function given(address: string): ExecutorSource {
  return { kind: "address", address: parseAddress(address, "address") };
}

/** Neurons in turn on every executor, attention and head on the first. */
export function inTurn(model: Model, kinds: readonly ExecutorKind[]): Schedule {
  const { layers, ff } = model.shape;
  const neuronOwner = Uint8Array.from({ length: ff }, (_, neuron) => neuron % kinds.length);
  return {
    executors: [...kinds],
    layers: Array.from({ length: layers }, () => ({ attention: 0, neuronOwner })),
    head: 0,
  };
}

export function groupOf(
  model: Model,
  sources: readonly ExecutorSource[],
  options: Partial<GroupOptions> = {},
): ExecutorGroup {
  return new ExecutorGroup({
    ...GROUP_DEFAULTS,
    executors: sources.map((source, index) => ({ name: `executor-${index}`, source })),
    model,
    limits: LIMITS,
    plan: (executors) =>
      inTurn(
        model,
        executors.map(({ kind }) => kind),
      ),
    log: SILENT,
    onExecutorLog: () => undefined,
    onState: () => undefined,
    ...options,
  });
}

/** A prompt of three tokens in slot 0, logits for the last. */
export const PROMPT: StepRow[] = [5, 17, 9].map((token, position) => ({
  token,
  position,
  slot: 0,
  wantsLogits: position === 2,
}));

/** The prompt and then four greedy steps. @returns all logits, in order */
export async function generate(group: ExecutorGroup): Promise<Float32Array[]> {
  const logits = [onlyLogits(await group.run(PROMPT))];
  for (let position = PROMPT.length; position < PROMPT.length + 4; position++) {
    const token = argmax(logits.at(-1) ?? new Float32Array());
    logits.push(onlyLogits(await group.run([{ token, position, slot: 0, wantsLogits: true }])));
  }
  return logits;
}

export function argmax(values: Float32Array): number {
  return values.indexOf(values.reduce((most, value) => Math.max(most, value), Number.NEGATIVE_INFINITY));
}

function onlyLogits({ logits }: StepResult): Float32Array {
  const [first] = logits;
  if (first === undefined || logits.length !== 1) throw new Error(`${logits.length} rows of logits, not one`);
  return first.slice();
}

/** Waits until `holds`, at most {@link PATIENCE_MS}. */
export async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  for (const end = Date.now() + PATIENCE_MS; !(await holds()); await delay(1)) {
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
  }
}

export function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`);
}

/** Stops a process, and waits until none of its threads runs any more. */
export async function freeze(pid: number): Promise<void> {
  process.kill(pid, "SIGSTOP");
  const tasks = `/proc/${pid}/task`;
  const isStopped = (task: string) => / \(.*\) T /s.test(readFileSync(`${tasks}/${task}/stat`, "utf8"));
  await until(() => readdirSync(tasks).every(isStopped), `process ${pid} stops`);
}

/** Arenas that a process created and that still have their names. */
export function arenasOf(pid: number): string[] {
  return readdirSync("/dev/shm").filter((name) => name.startsWith(`thermocline-${pid}-`));
}

/** A folder in which everything the code under test creates for a while lies, sockets included. */
export class Scratch {
  readonly path = mkdtempSync(join(tmpdir(), "thermocline-test-"));
  private readonly before = process.env.XDG_RUNTIME_DIR;
  private readonly children: ChildProcess[] = [];

  constructor() {
    process.env.XDG_RUNTIME_DIR = this.path;
  }

  get contents(): string[] {
    return readdirSync(this.path);
  }

  /** Starts a Node process and kills it at the end at the latest. @returns its first line on stdout, too */
  async start(script: string, args: readonly string[]): Promise<{ child: ChildProcess; line: string }> {
    const child = spawn(process.execPath, [script, ...args], { stdio: ["pipe", "pipe", "ignore"] });
    this.children.push(child);
    const lines = createInterface({ input: child.stdout });
    const line = await new Promise<string>((resolve, reject) => {
      lines.once("line", resolve);
      child.once("exit", (code, signal) => reject(new Error(`${script} ended (${code ?? signal})`)));
    });
    return { child, line };
  }

  async remove(): Promise<void> {
    for (const child of this.children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
    }
    if (this.before === undefined) delete process.env.XDG_RUNTIME_DIR;
    else process.env.XDG_RUNTIME_DIR = this.before;
    rmSync(this.path, { recursive: true, force: true });
  }
}
