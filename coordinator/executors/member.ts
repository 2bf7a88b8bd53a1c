/** One executor of a group, over all the processes and connections that stand for it one after the other. */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { ExecutorKind } from "../../native/index.js";
import { type Address, formatAddress, unixAddress } from "../../proto/address.js";
import { ThermoclineError } from "../../proto/errors.js";
import {
  ExecutorState,
  type Loaded,
  type LoadRequest,
  type StatusResponse,
} from "../../proto/gen/thermocline/v1/executor_pb.js";
import { ExecutorKind as WireKind } from "../../proto/gen/thermocline/v1/inference_pb.js";
import { backoffMs, pause } from "./backoff.js";
import { Child } from "./child.js";
import { ExecutorClient } from "./client.js";

/** Where an executor comes from: started and watched here, or started by somebody else. */
export type ExecutorSource =
  | { kind: "spawn"; executor: ExecutorKind; entry: string; args: readonly string[] }
  | { kind: "address"; address: Address };

/** What an executor says of itself. */
export interface ExecutorInfo {
  kind: ExecutorKind;
  /** "cpu", "host", "cuda" or "emulated". */
  device: string;
  /** The name of the real card that computes; null for all that stands in for one. */
  card: string | null;
  /** Bytes for weights, KV cache and scratch; 0 means no limit. */
  budgetBytes: number;
  threads: number;
  pid: number;
}

export interface MemberOptions {
  /** Such as "gpu" or "cpu-1"; unique in the group. */
  name: string;
  source: ExecutorSource;
  /** The folder for the socket of a spawned executor. */
  folder: () => string;
  log: Logger;
  onLog: (name: string, line: string) => void;
  /** Called when a joined executor is gone, with a sentence's beginning: "the GPU executor (pid 7) was killed". */
  onLost: (what: string) => void;
}

/** Node starts in 50 ms; a machine that swaps takes its time. */
const READY_TIMEOUT_MS = 15_000;
/** How long a broken connection may wait to be explained by its process's exit. */
const EXIT_NEWS_MS = 200;
/** How long an executor may take to leave an aborted arena before it is taken for hung. */
const LEAVE_TIMEOUT_MS = 1000;
const LEAVE_POLL_MS = 20;
const DRAIN_DEADLINE_MS = 1500;

export class Member {
  private child: Child | null = null;
  /** How the last process ended, while there is none. */
  private obituary: string | null = null;
  private client: ExecutorClient | null = null;
  private kind: ExecutorKind | null;
  private closed = false;

  constructor(private readonly options: MemberOptions) {
    this.kind = options.source.kind === "spawn" ? options.source.executor : null;
  }

  get name(): string {
    return this.options.name;
  }

  /** Whether this coordinator starts and restarts the process. */
  get isSpawned(): boolean {
    return this.options.source.kind === "spawn";
  }

  /** Names it in sentences: "the GPU executor (pid 123)", "the CPU executor at unix:/run/cpu.sock". */
  get label(): string {
    const { source } = this.options;
    const role = this.kind === null ? "executor" : `${this.kind.toUpperCase()} executor`;
    if (source.kind === "address") return `the ${role} at ${formatAddress(source.address)}`;
    return this.child?.pid ? `the ${role} (pid ${this.child.pid})` : `the ${role}`;
  }

  /**
   * Makes sure that the executor is there, answers, and is watched: starts its process, or waits for the one at its
   * address, when it is not.
   *
   * @param waitMs how long to wait for an executor that others start; null waits for ever
   */
  async join(signal: AbortSignal, waitMs: number | null): Promise<ExecutorInfo> {
    if (this.client !== null) {
      const status = await this.client.status(signal).catch(() => null);
      signal.throwIfAborted();
      if (status !== null) return this.infoFrom(status);
    }
    await this.drop();
    const { source } = this.options;
    return source.kind === "spawn"
      ? this.start(source, signal)
      : this.awaitAt(source.address, signal, waitMs);
  }

  /** Sends a Load to the joined executor. */
  async load(
    request: LoadRequest,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
    deadlineMs: number,
    signal: AbortSignal,
  ): Promise<Loaded> {
    return this.ask((client) => client.load(request, onProgress, deadlineMs, signal));
  }

  /** Has the joined executor stage an exchange. @returns bytes that a step will copy there */
  async stageExchange(...args: Parameters<ExecutorClient["stageExchange"]>): Promise<number> {
    return this.ask((client) => client.stageExchange(...args));
  }

  /**
   * Sees to it that the executor leaves its aborted arena; one that does not, or does not answer, is killed when it is
   * ours, and dropped when it is not.
   */
  async leaveOrDie(): Promise<void> {
    const end = Date.now() + LEAVE_TIMEOUT_MS;
    while (this.client !== null && Date.now() < end) {
      const status = await this.client.status(null, end - Date.now()).catch(() => null);
      if (status !== null && status.state !== ExecutorState.SERVING) return;
      await delay(LEAVE_POLL_MS);
    }
    if (this.client === null) return;
    this.options.log.error(`${this.label} hangs`);
    await this.drop();
  }

  /** Drains an executor of others; ends one of ours. Idempotent; never rejects. */
  async close(): Promise<void> {
    this.closed = true;
    const { child, client } = this;
    this.client = null;
    if (child !== null) {
      client?.close();
      await child.stop();
      return;
    }
    await client?.drain(DRAIN_DEADLINE_MS).catch((error: unknown) => {
      this.options.log.warn({ err: error }, "an executor could not be drained");
    });
    client?.close();
  }

  private async ask<T>(work: (client: ExecutorClient) => Promise<T>): Promise<T> {
    if (this.client === null) throw new ThermoclineError("UNAVAILABLE", `${this.label} is gone`);
    try {
      return await work(this.client);
    } catch (error) {
      throw await this.explained(error);
    }
  }

  private async start(
    { entry, args }: { entry: string; args: readonly string[] },
    signal: AbortSignal,
  ): Promise<ExecutorInfo> {
    const { name, folder, onLog } = this.options;
    if (this.closed) throw new ThermoclineError("UNAVAILABLE", `${this.label} was closed`);
    const child = new Child({
      label: this.label,
      entry,
      args,
      listen: unixAddress(`${folder()}/${name}.sock`),
      onLog: (line) => onLog(name, line),
    });
    this.child = child;
    this.obituary = null;
    void child.exited.then((cause) => {
      if (this.child !== child) return;
      this.obituary = `${this.label} ${cause}`;
      this.child = null;
      this.lose(this.obituary);
    });
    const address = await child.ready(READY_TIMEOUT_MS, signal);
    try {
      return await this.connect(address, signal);
    } catch (error) {
      const failure = await this.explained(error);
      child.kill();
      throw failure;
    }
  }

  private async awaitAt(address: Address, signal: AbortSignal, waitMs: number | null): Promise<ExecutorInfo> {
    const start = Date.now();
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.connect(address, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (!isSilence(error)) throw error;
        if (waitMs !== null && Date.now() - start > waitMs) {
          throw new ThermoclineError(
            "UNAVAILABLE",
            `no executor answered at ${formatAddress(address)} within ${waitMs / 1000} s; start one there`,
            { cause: error },
          );
        }
        if (attempt === 1) this.options.log.warn(`waiting for ${this.label}`);
      }
      await pause(backoffMs(attempt), signal);
    }
  }

  private async connect(address: Address, signal: AbortSignal): Promise<ExecutorInfo> {
    const client = new ExecutorClient(address, this.label);
    try {
      const info = this.infoFrom(await client.status(signal));
      signal.throwIfAborted();
      this.client = client;
      client.watch((cause) => {
        void this.explain(`${this.label} ${cause}`).then((what) => {
          if (this.client === client) this.lose(what);
        });
      });
      return info;
    } catch (error) {
      client.close();
      throw error;
    }
  }

  private lose(what: string): void {
    // Before it had joined, whoever tries to join it learns of the failure.
    if (this.client === null) return;
    this.client.close();
    this.client = null;
    if (!this.closed) this.options.onLost(what);
  }

  /** A broken connection is mostly a process that died: what happened to that says more. */
  private async explain(what: string): Promise<string> {
    if (this.child !== null)
      await Promise.race([this.child.exited, delay(EXIT_NEWS_MS, null, { ref: false })]);
    return this.obituary ?? what;
  }

  private async explained(error: unknown): Promise<unknown> {
    if (!(error instanceof ThermoclineError) || error.code !== "UNAVAILABLE") return error;
    return new ThermoclineError("UNAVAILABLE", await this.explain(error.message), { cause: error });
  }

  /** Gives up the connection, and the process if it is ours. */
  private async drop(): Promise<void> {
    this.client?.close();
    this.client = null;
    const { child } = this;
    this.child = null;
    child?.kill();
    await child?.exited;
  }

  private infoFrom(status: StatusResponse): ExecutorInfo {
    const kind = status.kind === WireKind.GPU ? "gpu" : "cpu";
    this.kind = kind;
    const { device, card, threads, pid } = status;
    return {
      kind,
      device,
      card: card === "" ? null : card,
      threads,
      pid,
      budgetBytes: Number(status.budgetBytes),
    };
  }
}

function isSilence(error: unknown): boolean {
  return (
    error instanceof ThermoclineError && (error.code === "UNAVAILABLE" || error.code === "DEADLINE_EXCEEDED")
  );
}
