/** Puts a server together: model, placement, executors, batcher, telemetry and the public port. */
import { setImmediate as nextTurn } from "node:timers/promises";
import type { Logger } from "pino";
import { type Address, formatAddress } from "../proto/address.js";
import type { ThermoclineError } from "../proto/errors.js";
import { formatBytes } from "../proto/units.js";
import type { PlacementPolicy } from "./api/placement-response.js";
import { type PublicServer, startServer } from "./api/server.js";
import { type ExecutionOptions, executorSources, openModel, plannerFor } from "./execution.js";
import { ExecutorGroup, GROUP_DEFAULTS } from "./executors/group.js";
import type { GroupState } from "./executors/group-state.js";
import { relay } from "./log.js";
import { Encoder } from "./model/tokenizer/encoder.js";
import { loadTokenizer } from "./model/tokenizer/load-tokenizer.js";
import { loadProfile, type Profile } from "./placement/profile.js";
import { fixedBecause, NOTHING_MOVES, RE_PLACEMENT_DEFAULTS, RePlacement } from "./placement/re-placement.js";
import { LiveProfile } from "./profile/live-profile.js";
import { LIVE_DEFAULTS, LiveRecorder } from "./profile/live-recorder.js";
import { profilePath } from "./profile/profile-file.js";
import { Batcher } from "./schedule/batcher.js";
import { limitsFor } from "./serving-defaults.js";
import { createTelemetry } from "./telemetry/telemetry.js";

export interface StackOptions extends ExecutionOptions {
  /** null takes the model's, up to 4096. */
  contextLength: number | null;
  slots: number;
  /** Whether neurons move between executors as they turn out to fire. */
  rePlacement: boolean;
  otlpEndpoint: string | null;
  /** Share of requests to trace, 0 to 1. */
  traceRatio: number;
  /** The profile that what requests do is added to: a path, true for the one beside the model, or null for none. */
  liveProfile: string | true | null;
}

/** A server that answers. */
export interface Stack {
  readonly address: Address;
  /** Resolves with the reason when the executors are lost for good; the port still answers with it. */
  readonly failed: Promise<ThermoclineError>;
  /** Ends requests, executors and the port; at most 2 s. Idempotent. */
  close(): Promise<void>;
}

/**
 * Starts everything and resolves when requests are answered. Nothing is left behind when it rejects.
 * @param signal gives the start up when aborted
 * @throws ThermoclineError
 */
export async function startStack(
  options: StackOptions,
  listen: Address,
  log: Logger,
  signal: AbortSignal,
): Promise<Stack> {
  const model = await openModel(options);
  const limits = limitsFor(model, options);
  const profile = await loadProfile(model, options.profilePath);
  const tokenizer = loadTokenizer(model.file);
  const encoder = new Encoder(tokenizer, { path: model.path, fileBytes: model.fileBytes });
  const executors = await executorSources(options, model, limits, log);
  const telemetry = await createTelemetry({
    otlpEndpoint: options.otlpEndpoint,
    traceRatio: options.traceRatio,
    model: model.name,
    executors: () => group.placement?.schedule.executors ?? [],
    log,
  });
  let fail: (error: ThermoclineError) => void = () => undefined;
  const failed = new Promise<ThermoclineError>((resolve) => {
    fail = resolve;
  });
  let server: PublicServer | null = null;
  const onState = (state: GroupState) => {
    logState(log, state);
    server?.setServing(state.kind === "ready");
    if (state.kind === "failed") fail(state.error);
  };
  const fixed = fixedBecause(model);
  if (options.rePlacement && fixed !== null) log.info({ reason: fixed }, NOTHING_MOVES);
  const moves = options.rePlacement && fixed === null;
  const counts = moves || options.liveProfile !== null;
  const group = new ExecutorGroup({
    executors,
    model,
    limits,
    plan: plannerFor({ model, options, limits, profile, log }),
    ...GROUP_DEFAULTS,
    observation: counts ? "counts" : "none",
    log,
    onExecutorLog: (executor, line) => relay(log, executor, line),
    onState,
  });
  const onError = (error: unknown) => log.warn({ err: error }, "what a step made neurons do was not counted");
  const recorder = counts ? new LiveRecorder(group, model.shape, { ...LIVE_DEFAULTS, onError }) : null;
  let live: LiveProfile | null = null;
  const batcher = new Batcher(recorder ?? group, tokenizer, telemetry.observer);
  const rePlacement =
    recorder !== null && moves
      ? new RePlacement({
          ...RE_PLACEMENT_DEFAULTS,
          model,
          executors: group,
          firings: () => recorder.next(),
          onRound: (round) => telemetry.rePlaced(round),
          log,
        })
      : null;
  const close = closer(async () => {
    rePlacement?.close();
    // Executors take what they have counted along.
    recorder?.read();
    const lastStep = batcher.close();
    // The ends of the requests reach telemetry in the event loop's next turn.
    const observed = lastStep.then(() => nextTurn());
    await Promise.all([
      server?.close(),
      encoder.close(),
      group.close(),
      observed.then(() => telemetry.shutdown()),
      lastStep.then(() => live?.close()),
    ]);
  });
  const onAbort = () => void group.close();
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    signal.throwIfAborted();
    if (recorder !== null && options.liveProfile !== null) {
      const path = options.liveProfile === true ? null : options.liveProfile;
      live = await LiveProfile.open(path ?? profilePath(model.path), model, recorder, log);
    }
    const policy = policyOf(options, profile);
    server = await startServer(listen, { model, tokenizer, encoder, batcher, group, limits, policy, log });
    await group.open();
    rePlacement?.start();
  } catch (error) {
    await close();
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
  log.info({ model: model.name }, `serving at ${formatAddress(server.address)}`);
  return { address: server.address, failed, close };
}

function policyOf({ placementPath }: StackOptions, profile: Profile | null): PlacementPolicy {
  if (placementPath !== null) return "file";
  return profile === null ? "in-order" : "profile";
}

/** Does `work` at the first call; later calls get the same promise. */
function closer(work: () => Promise<void>): () => Promise<void> {
  let closing: Promise<void> | null = null;
  return () => {
    closing ??= work();
    return closing;
  };
}

function logState(log: Logger, state: GroupState): void {
  switch (state.kind) {
    case "loading":
      log.debug(`loading: ${formatBytes(state.bytesDone)} of ${formatBytes(state.bytesTotal)}`);
      return;
    case "ready":
      log.info("every executor is loaded");
      return;
    case "recovering":
      log.error({ reason: state.reason }, "recovering");
      return;
    default:
    // How it ended is told to whoever started the stack.
  }
}
