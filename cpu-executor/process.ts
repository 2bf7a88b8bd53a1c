/** An executor as a process: its server, its readiness, and its end. */

import { Server } from "@grpc/grpc-js";
import { HealthImplementation } from "grpc-health-check";
import { type Logger, pino } from "pino";
import { Arena, sweepArenas } from "../native/index.js";
import { type Address, formatAddress } from "../proto/address.js";
import { ThermoclineError } from "../proto/errors.js";
import { ExecutorService } from "../proto/gen/thermocline/v1/executor_pb.js";
import { serviceDefinition } from "../proto/grpc.js";
import type { Device } from "./device.js";
import { Executor } from "./executor.js";
import { Lifeline } from "./lifeline.js";
import { listen, removeSocket } from "./listener.js";
import type { ProcessOptions } from "./options.js";
import { executorService } from "./service.js";

/** A schedule holds a byte a neuron: 80 layers of 28,672 neurons are 2.3 MB, near gRPC's default limit of 4 MB. */
const MAX_MESSAGE_BYTES = 64 * 1024 * 1024;
/** How long the step at hand may go on when the process was told to end. */
const STEP_GRACE_MS = 300;
/** How long open calls may go on then. */
const CALL_GRACE_MS = 300;
/** When the process ends even if something hangs; whoever started it counts on 2 s. */
const END_LIMIT_MS = 1400;

/** Writes JSON lines to stderr; stdout belongs to the readiness line. */
export function createLog(name: string, options: ProcessOptions): Logger {
  return pino({ name, level: options.logLevel }, pino.destination({ fd: 2, sync: true }));
}

/**
 * Runs until SIGTERM, SIGINT or the loss of the parent; then finishes the step at hand, closes the server, removes the
 * socket and exits with 0. A second signal exits at once.
 */
export async function runExecutor(device: Device, options: ProcessOptions, log: Logger): Promise<void> {
  const health = new HealthImplementation({ "": "SERVING", [ExecutorService.typeName]: "NOT_SERVING" });
  const executor = new Executor(device, Arena.attach, log, (state) => {
    log.info({ state: state.kind }, "state");
    if (state.kind === "failed" && state.deviceLost) end.onDeviceLost();
    health.setStatus(ExecutorService.typeName, state.kind === "serving" ? "SERVING" : "NOT_SERVING");
  });
  const server = new Server({ "grpc.max_receive_message_length": MAX_MESSAGE_BYTES });
  server.addService(serviceDefinition(ExecutorService), executorService(executor));
  health.addToServer(server);

  let lifeline: Lifeline | null = null;
  const end = new EndOfProcess(log, options.listen, async () => {
    health.setStatus("", "NOT_SERVING");
    health.setStatus(ExecutorService.typeName, "NOT_SERVING");
    await executor.drain(STEP_GRACE_MS);
    await closeServer(server);
    if (lifeline?.isBreaking) await lifeline.ended;
  });
  const onSignal = (signal: NodeJS.Signals) => {
    if (lifeline?.isBreaking) end.onParentLost();
    else end.onSignal(signal);
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
  if (options.withParent) {
    lifeline = new Lifeline(process.stdin, () => {
      if (executor.state.kind === "serving") executor.state.serving.arena.abort("the coordinator was lost");
      end.onParentLost();
    });
  }
  const bound = await listen(server, options.listen);
  log.info({ listen: formatAddress(bound), device: device.name, threads: device.threads }, "ready");
  process.stdout.on("error", (error) => log.warn({ err: error }, "nobody reads the readiness line"));
  process.stdout.write(`${JSON.stringify({ ready: formatAddress(bound) })}\n`);
}

/** Says why on stderr, in one sentence, and lets the process end with exit code 1. */
export function exitWithError(error: unknown): void {
  const message =
    error instanceof ThermoclineError ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

/** The one way out of the process, however many causes there are. */
class EndOfProcess {
  private signals = 0;
  private ending = false;
  private parentLost = false;

  constructor(
    private readonly log: Logger,
    private readonly listen: Address,
    private readonly shutDown: () => Promise<void>,
  ) {}

  onSignal(signal: NodeJS.Signals): void {
    this.signals++;
    if (this.signals > 1) this.exit(1);
    this.begin(signal);
  }

  /** Whoever started this process starts another one, which opens the device anew. */
  onDeviceLost(): void {
    this.begin("a step failed, and the device may be lost with it");
  }

  /** Called by each of the kernel's SIGTERMs for a dying parent, too: one comes with each of its threads that ends. */
  onParentLost(): void {
    this.parentLost = true;
    this.begin("the parent was lost");
  }

  private begin(cause: string): void {
    if (this.ending) return;
    this.ending = true;
    this.log.info({ cause }, "shutting down");
    setTimeout(() => {
      this.log.warn(`shutting down took longer than ${END_LIMIT_MS} ms; exiting as things are`);
      this.exit(1);
    }, END_LIMIT_MS).unref();
    this.shutDown().then(
      () => this.exit(0),
      (error: unknown) => {
        this.log.error({ err: error }, "shutting down failed");
        this.exit(1);
      },
    );
  }

  private exit(code: number): never {
    removeSocket(this.listen, this.parentLost);
    // Nobody else is left to take away an arena whose creator died before everyone had joined it.
    if (this.parentLost) sweepArenas();
    process.exit(code);
  }
}

async function closeServer(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.tryShutdown(() => resolve()));
  const force = setTimeout(() => server.forceShutdown(), CALL_GRACE_MS);
  await closed;
  clearTimeout(force);
}
