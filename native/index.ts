/**
 * The whole surface of the native addon: the arena, the engine, weight formats, and what the machine can do.
 *
 * Only data objects cross, with the same names on both sides (`native/bridge`). Whatever can run long returns a
 * promise and works off the event loop. Every failure is a {@link NativeError} whose code is one of
 * {@link NATIVE_ERROR_CODES}.
 */

import { createRequire } from "node:module";
import { builtFile } from "./libraries.js";

/** Every way native code can fail. `native/error.h` holds the same list. */
export const NATIVE_ERROR_CODES = [
  /** An argument is out of its range or contradicts another one. */
  "invalid-argument",
  /** A file or arena of that name does not exist. */
  "not-found",
  /** The file or arena is not what its header or the plan says. */
  "corrupt",
  /** The operating system refused a resource, or a memory budget would be exceeded. */
  "out-of-memory",
  /** No kernels for this tensor type, instruction set or device. */
  "unsupported",
  /** The object was closed before this call. */
  "closed",
  /** The caller cancelled the work. */
  "cancelled",
  /** The step was given up because another process failed or told so. */
  "aborted",
  /** A wait outlasted its deadline. */
  "timed-out",
  /** A system call failed in a way nothing above covers. */
  "system",
  /** A defect in the native code itself. */
  "internal",
] as const;
export type NativeErrorCode = (typeof NATIVE_ERROR_CODES)[number];

/** A failure in native code. */
export class NativeError extends Error {
  override readonly name = "NativeError";
  constructor(
    readonly code: NativeErrorCode,
    message: string,
    /** The argument at fault as a path into the call's data (`layers[3].neuronOwner`), or null. */
    readonly argument: string | null,
  ) {
    super(message);
  }
}

/** Instruction sets with kernels of their own, slowest first. */
export const INSTRUCTION_SETS = ["scalar", "avx2", "avx-vnni", "avx512", "avx512-vnni"] as const;
export type InstructionSet = (typeof INSTRUCTION_SETS)[number];
/** GGUF's formats for weights; `native/kernels/kernels.h` holds the same list. */
export type WeightType = "f32" | "f16" | "q8_0" | "q4_0" | "bf16" | "q4_k" | "q5_k" | "q6_k";
export type Activation = "relu" | "relu2" | "silu";
export type Norm = "rms" | "layer";
/** Which rotated dimensions of a head turn together: 2i with 2i + 1, or i with i + half of them (as in GPT-NeoX). */
export type RopePairs = "adjacent" | "halves";
export type ExecutorKind = "cpu" | "gpu";

/** What {@link machine} finds. */
export interface Machine {
  /** Instruction sets this CPU can run, slowest first. */
  instructionSets: InstructionSet[];
  /** The CPU's own name. */
  cpu: string;
  /** Cores this process may run on, by its affinity and its control group's quota. */
  cores: number;
  /** The machine's, or the control group's limit where that is lower. */
  memoryBytes: number;
  availableMemoryBytes: number;
  /** Size of and room in /dev/shm; 0 when it is not mounted. */
  sharedMemoryBytes: number;
  availableSharedMemoryBytes: number;
}

/**
 * What executors record of observed steps: `counts` how often and how strongly each neuron fired, `activations` that, and
 * of each row what a predictor sees and which neurons fired. 7B's counts take 3 MB, activations 17 MB more a row.
 */
export type Observation = "none" | "counts" | "activations";

/** Sizes that decide an arena's layout. */
export interface ArenaOptions {
  executors: number;
  layers: number;
  embd: number;
  ff: number;
  vocab: number;
  /** Most rows in one step. */
  maxRows: number;
  /** Most rows of one step that may ask for logits. */
  maxLogitRows: number;
  observation: Observation;
}

/** What {@link Arena.takeCounts} takes; neuron n of layer l is entry l * ff + n. */
export interface FiredCounts {
  /** Rows it fired for. */
  counts: Uint32Array;
  /** Sums of the absolute values of its hidden value, act(gate) * up, over them. */
  strengths: Float32Array;
}

/** What one layer was observed to do with the rows of a step. */
export interface LayerActivations {
  /** [rows][embd] what its predictor sees: the residual before the FFN's norm. */
  inputs: Float32Array;
  /** [rows][ceil(ff / 64) * 8] bit n % 8 of byte n / 8: neuron n fired. */
  fired: Uint8Array;
}

/** One row of a step: a token at a position of a slot's sequence. */
export interface StepRow {
  token: number;
  position: number;
  slot: number;
  wantsLogits: boolean;
  /** Only so many of the highest are wanted, at most {@link MOST_CANDIDATES}; 0, the default, is all. */
  candidates?: number;
}

/** Most candidates a row can ask for. */
export const MOST_CANDIDATES = 128;

/**
 * The tokens of a row's highest logits and these: the highest first, the lower token first among equals, NaNs before
 * everything. As many as were asked for, or all when there are not so many.
 */
export interface Candidates {
  tokens: Int32Array;
  logits: Float32Array;
}

/** What a layer's time was spent on; `embed`, `head` and `exchange` lie outside the layers. */
export const PHASES = [
  "embed",
  "attention",
  "predict",
  "hot",
  "cold",
  "wait",
  "merge",
  "head",
  "exchange",
] as const;
export type Phase = (typeof PHASES)[number];

/**
 * Timing records drained from the arena's rings: rows of {@link TIMING_FIELDS} numbers in one array. Times are
 * nanoseconds of CLOCK_MONOTONIC; `phase` is an index into {@link PHASES}; `layer` is -1 outside the layers.
 * `active` counts (row, neuron) pairs that fired, `placed` neurons the executor holds, `bytes` weight bytes read,
 * or by an exchange copied.
 */
export const TIMING_FIELDS = [
  "step",
  "executor",
  "layer",
  "phase",
  "startNs",
  "endNs",
  "rows",
  "active",
  "placed",
  "bytes",
] as const;

/** Why a step did not complete. */
export interface StepFailure {
  /** The executor that reported it, or -1 when the coordinator aborted. */
  executor: number;
  code: NativeErrorCode;
  message: string;
}

/** A tensor's place in the model file. */
export interface TensorRef {
  /** GGUF name, such as `blk.0.attn_q.weight`. */
  name: string;
  type: WeightType;
  /** From the start of the file, in bytes. */
  offset: number;
  rows: number;
  /** Elements a row. */
  cols: number;
}

export interface ModelShape {
  layers: number;
  /** Width of the residual stream. */
  embd: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  /** Neurons a layer. */
  ff: number;
  vocab: number;
  /** What comes before attention, FFN and head: RMSNorm, or LayerNorm with a weight, a bias, both or none. */
  norm: Norm;
  /** Added to the mean square, or the variance, that the norm divides by the root of. */
  normEpsilon: number;
  ropeBase: number;
  /** Positions are multiplied by this before rotation. */
  ropeScale: number;
  /** Leading dimensions of a head that are rotated. */
  ropeDims: number;
  ropePairs: RopePairs;
  activation: Activation;
  /**
   * Under the ReLUs a neuron fires when its gate is above 0 and at least this (FATReLU; `relu2` asks no more of up than
   * to be above 0). 0 is plain ReLU, and all that SiLU allows.
   */
  reluThreshold: number;
  /** Logit from which the predictor takes a neuron to be active. */
  predictorThreshold: number;
}

export interface LayerSchedule {
  /** The executor that runs attention and the predictor, holds the residual, and merges. */
  attention: number;
  /** For each neuron, the executor that computes it; `ff` entries. */
  neuronOwner: Uint8Array;
}

export interface Schedule {
  executors: ExecutorKind[];
  layers: LayerSchedule[];
  /** The executor that runs the output norm and head. */
  head: number;
}

/** Everything that decides what one executor holds in memory. */
export interface EnginePlan {
  modelPath: string;
  /** The file's size; another size on opening is an error. */
  modelBytes: number;
  shape: ModelShape;
  tensors: TensorRef[];
  schedule: Schedule;
  /** This executor's index in `schedule.executors`. */
  executor: number;
  slots: number;
  contextLength: number;
  maxRows: number;
}

export interface EngineOptions {
  /**
   * `mapped` computes straight from the file's pages; `resident` copies this executor's share into memory, laid out as
   * the kernels read it.
   */
  residency: "mapped" | "resident";
  /** Most bytes for weights, KV cache and scratch; 0 means no limit. */
  budgetBytes: number;
  threads: number;
  /** CPU numbers to pin the threads to, one each; empty pins none. */
  pinTo: number[];
  /** null picks the fastest this CPU can run. */
  instructionSet: InstructionSet | null;
  /** Path of a library with a device that computes instead of this CPU's cores; null has none. */
  library: string | null;
}

/** A card, as its driver describes it. */
export interface CardInfo {
  name: string;
  memoryBytes: number;
  /** Of its memory, at present. */
  freeBytes: number;
  /** At most, as its memory's clock and bus have it; 0 where they are not told. */
  memoryBytesPerS: number;
  /** Whether its stream waits for other executors by itself; else kernels do, which spin. */
  memoryOperations: boolean;
  /** Whether its driver ends kernels that take some seconds, as where it drives a display. */
  kernelTimeLimit: boolean;
  /** Compute capability. */
  computeMajor: number;
  computeMinor: number;
  /** Of CUDA, 1000 * major + 10 * minor: the driver's, and that of what the library was built with. */
  driverVersion: number;
  runtimeVersion: number;
}

/** Bytes an executor needs for a plan. */
export interface MemoryNeeds {
  /** Weights it computes with; resident copies or pages of the map. */
  weightBytes: number;
  kvCacheBytes: number;
  scratchBytes: number;
}

/** Neurons `first[i]` and `second[i]` of a layer change places; no neuron does so twice. */
export interface LayerExchange {
  layer: number;
  first: Uint32Array;
  second: Uint32Array;
}

/**
 * Neurons that change places while steps run: each takes over the other's memory, on the other's executor. Every
 * executor stages it, and all apply it at the start of the step that names it.
 */
export interface Exchange {
  /** By which a step names it; at least 1. */
  number: number;
  /** Each layer at most once. */
  layers: LayerExchange[];
}

export interface LoadedEngine {
  memory: MemoryNeeds;
  instructionSet: InstructionSet;
  threads: number;
}

/** Rows to be stored in another format. */
export interface RowConversion {
  from: WeightType;
  to: WeightType;
  /** Elements a row; a multiple of both formats' blocks. */
  cols: number;
  /** Whole rows, one behind another, as a GGUF file of type `from` holds them. */
  source: Uint8Array;
}

/** A layer's gate and the files of what was observed of it, for {@link LayerTraining}. */
export interface LayerTrainingData {
  embd: number;
  ff: number;
  /** [ff][embd] the gate matrix. */
  gate: Float32Array;
  /** [embd] the weights of the norm before it. */
  norm: Float32Array;
  reluThreshold: number;
  /** The largest rank there will be: the gate's principal components are found once, for all of them. */
  mostRank: number;
  /** Paths of files of records, one a row: [embd] f32 inputs, then the fired bits as {@link LayerActivations} has them. */
  training: string;
  /** Rows that set the margin. */
  calibration: string;
  /** Rows that figures come from. */
  test: string;
  threads: number;
}

/**
 * `paired` and `shifted` are made of the gate matrix's principal components, two hidden units a direction or one;
 * `trained` goes on from those by gradient descent.
 */
export type PredictorKind = "paired" | "shifted" | "trained";

export interface PredictorFitOptions {
  kind: PredictorKind;
  /** Hidden units. */
  rank: number;
  type: WeightType;
  /** Share of the (row, neuron) pairs that fire which it is to find. */
  recall: number;
  epochs: number;
  seed: number;
  /** A file that an interrupted training goes on from; null keeps none. */
  checkpoint: string | null;
}

/** (row, neuron) pairs, but for `rows`. */
export interface Confusion {
  rows: number;
  fired: number;
  /** Taken for active. */
  predicted: number;
  /** Both. */
  found: number;
}

/** A predictor as a model file stores it, and what it does with activations rounded as engines round them. */
export interface FittedPredictor {
  /** [rank][embd] in the type asked for. */
  fc1: Uint8Array<ArrayBuffer>;
  /** [ff][rank]. */
  fc2: Uint8Array<ArrayBuffer>;
  calibration: Confusion;
  test: Confusion;
  /** Mean cross-entropy of the last epoch, in nats a pair; 0 where nothing was trained. */
  loss: number;
}

export interface TrainingProgress {
  epoch: number;
  epochs: number;
  /** Share of the training. */
  done: number;
  /** Mean over the epoch so far. */
  loss: number;
}

/** How an engine's step loop ended: `closed` on request, else the failure that ended it. */
export type ServeOutcome = { kind: "closed" } | { kind: "failed"; failure: StepFailure };

/** The addon's exports, one for one; `native/bridge/addon.cc` registers them. Handles are opaque. */
interface Addon {
  machine(): Machine;
  measureBandwidth(threads: number, bytes: number, seconds: number): Promise<number>;
  dieWithParent(): void;
  monotonicNs(): number;
  arenaCreate(options: ArenaOptions): object;
  arenaAttach(name: string, epoch: bigint): object;
  arenaName(arena: object): string;
  arenaEpoch(arena: object): bigint;
  arenaBytes(arena: object): number;
  arenaUnlink(arena: object): void;
  arenaSubmit(arena: object, rows: Int32Array, observed: boolean, exchange: number): number;
  arenaWait(arena: object, step: number, timeoutMs: number): Promise<StepFailure | null>;
  /** Into the buffer, where it is large enough, or else into a new one. */
  arenaLogits(arena: object, index: number, into: ArrayBuffer | undefined): Float32Array<ArrayBuffer>;
  /** Likewise. */
  arenaCandidates(
    arena: object,
    index: number,
    into: ArrayBuffer | undefined,
  ): { tokens: Int32Array<ArrayBuffer>; logits: Float32Array<ArrayBuffer> };
  arenaAbort(arena: object, reason: string): void;
  /** Likewise. */
  arenaDrainTimings(
    arena: object,
    into: ArrayBuffer | undefined,
  ): { records: Float64Array<ArrayBuffer>; lost: number };
  arenaTakeCounts(arena: object): FiredCounts;
  arenaActivations(arena: object, layer: number): LayerActivations;
  arenaClose(arena: object): void;
  sweepArenas(): string[];
  memoryNeeds(plan: EnginePlan, options: EngineOptions): MemoryNeeds;
  cardProbe(library: string): CardInfo;
  engineLoad(
    plan: EnginePlan,
    options: EngineOptions,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
    cancel: object,
  ): Promise<object>;
  cancelToken(): object;
  cancel(token: object): void;
  engineInfo(engine: object): LoadedEngine;
  engineServe(engine: object, arena: object): Promise<ServeOutcome>;
  engineStage(engine: object, exchange: Exchange, cancel: object): Promise<number>;
  engineExchanged(engine: object): boolean;
  engineSteps(engine: object): number;
  engineStop(engine: object): void;
  engineClose(engine: object): Promise<void>;
  convertRows(conversion: RowConversion): Promise<Uint8Array<ArrayBuffer>>;
  trainingOpen(data: LayerTrainingData): Promise<object>;
  trainingFit(
    layer: object,
    options: PredictorFitOptions,
    onProgress: (progress: TrainingProgress) => void,
    cancel: object,
  ): Promise<FittedPredictor>;
  trainingClose(layer: object): void;
}

function findAddon(): string {
  const file = builtFile("thermocline.node");
  if (file !== null) return file;
  throw new NativeError("not-found", "the native addon is not built: run `npm run setup`", null);
}

function toNativeError(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const code = NATIVE_ERROR_CODES.find((known) => known === error.code);
  if (code === undefined) return error;
  const argument = "argument" in error && typeof error.argument === "string" ? error.argument : null;
  return new NativeError(code, error.message, argument);
}

/** Calls into the addon, turning what it throws or rejects with into {@link NativeError}. */
function call<T>(work: (addon: Addon) => T): T {
  try {
    const result = work(loadAddon());
    return result instanceof Promise
      ? (result.catch((error: unknown) => Promise.reject(toNativeError(error))) as T)
      : result;
  } catch (error) {
    throw toNativeError(error);
  }
}

let loaded: Addon | null = null;
function loadAddon(): Addon {
  loaded ??= createRequire(import.meta.url)(findAddon()) as Addon;
  return loaded;
}

/** Runs `work` with a token by which aborting `signal` cancels it. */
async function cancellable<T>(signal: AbortSignal | null, work: (token: object) => Promise<T>): Promise<T> {
  const token = call((addon) => addon.cancelToken());
  const onAbort = () => call((addon) => addon.cancel(token));
  if (signal?.aborted === true) onAbort();
  signal?.addEventListener("abort", onAbort, { once: true });
  try {
    return await work(token);
  } finally {
    signal?.removeEventListener("abort", onAbort);
  }
}

/** What this machine has. */
export function machine(): Machine {
  return call((addon) => addon.machine());
}

/**
 * Reads `bytes` of memory again and again with `threads` threads.
 * @returns bytes a second, the best pass within `seconds`
 */
export async function measureBandwidth(threads: number, bytes: number, seconds: number): Promise<number> {
  return call((addon) => addon.measureBandwidth(threads, bytes, seconds));
}

/** Has the kernel send this process SIGTERM when its parent dies; a parent that is dead already goes unnoticed. */
export function dieWithParent(): void {
  call((addon) => addon.dieWithParent());
}

/** CLOCK_MONOTONIC in nanoseconds, the clock of all timing records. */
export function monotonicNs(): number {
  return call((addon) => addon.monotonicNs());
}

/** Removes this user's arenas whose creator no longer lives from /dev/shm. @returns their names */
export function sweepArenas(): string[] {
  return call((addon) => addon.sweepArenas());
}

/** Bytes one executor needs for a plan, exactly as {@link Engine.load} will take them. Touches no file. */
/**
 * The card that a device library finds. A driver may end the process that asks it: ask in one of its own.
 * @throws NativeError `not-found` without such a file, `unsupported` without a card that it can use
 */
export function probeCard(library: string): CardInfo {
  return call((addon) => addon.cardProbe(library));
}

export function memoryNeeds(plan: EnginePlan, options: EngineOptions): MemoryNeeds {
  return call((addon) => addon.memoryNeeds(plan, options));
}

/**
 * Stores rows in another format, as ggml's reference quantizers do without importance weights. Calls run side by side,
 * each on a thread of its own; `source` is copied. An element that is no finite number is a `corrupt` error, one beyond
 * what `to` reaches an `invalid-argument` error of the argument `to`.
 * @returns the rows as a GGUF file of type `to` holds them
 */
export async function convertRows(conversion: RowConversion): Promise<Uint8Array<ArrayBuffer>> {
  return call((addon) => addon.convertRows(conversion));
}

/**
 * The shared memory through which the coordinator submits steps and executors hand activations to each other. Its
 * creator unlinks its name once everybody has attached; from then on it lives as long as its last mapping.
 */
export class Arena {
  /** What the last logits and candidates of each index, and the last two sets of timing records, were read into. */
  private readonly logitBuffers: ArrayBuffer[] = [];
  private readonly candidateBuffers: ArrayBuffer[] = [];
  private timingBuffers: [older: ArrayBuffer | undefined, newer: ArrayBuffer | undefined] = [
    undefined,
    undefined,
  ];

  private constructor(private readonly handle: object) {}

  /** Creates an arena of mode 0600 under a fresh name. */
  static create(options: ArenaOptions): Arena {
    return new Arena(call((addon) => addon.arenaCreate(options)));
  }

  /** Joins the arena `name`, checking its version, size and epoch. */
  static attach(name: string, epoch: bigint): Arena {
    return new Arena(call((addon) => addon.arenaAttach(name, epoch)));
  }

  /** Name under /dev/shm, with no folder. */
  get name(): string {
    return call((addon) => addon.arenaName(this.handle));
  }

  /** A random number that tells this arena from every other. */
  get epoch(): bigint {
    return call((addon) => addon.arenaEpoch(this.handle));
  }

  get bytes(): number {
    return call((addon) => addon.arenaBytes(this.handle));
  }

  /** Takes the name away; mappings stay. Idempotent. */
  unlink(): void {
    call((addon) => addon.arenaUnlink(this.handle));
  }

  /**
   * Writes a step and wakes the executors. One step at a time: the one before must have completed.
   * @param observed whether executors record what the arena was made to observe
   * @param exchange that every executor has staged and is to apply before it computes the step; 0 for none
   * @returns the step's number
   */
  submit(rows: readonly StepRow[], observed = false, exchange = 0): number {
    const packed = new Int32Array(rows.length * 5);
    rows.forEach(({ token, position, slot, wantsLogits, candidates = 0 }, index) => {
      packed.set([token, position, slot, wantsLogits ? 1 : 0, candidates], index * 5);
    });
    return call((addon) => addon.arenaSubmit(this.handle, packed, observed, exchange));
  }

  /**
   * Resolves at the step's end: null when it completed, else why not. A step that outlasts `timeoutMs` resolves
   * with the code `timed-out` and leaves the arena aborted.
   */
  async wait(step: number, timeoutMs: number): Promise<StepFailure | null> {
    return call((addon) => addon.arenaWait(this.handle, step, timeoutMs));
  }

  /**
   * The logits of the `index`-th row of the last step that wanted all; `vocab` numbers, which the next call with this
   * index overwrites.
   */
  logits(index: number): Float32Array {
    const logits = call((addon) => addon.arenaLogits(this.handle, index, this.logitBuffers[index]));
    this.logitBuffers[index] = logits.buffer;
    return logits;
  }

  /** Those of the `index`-th row that wanted only some; the next call with this index overwrites them. */
  candidates(index: number): Candidates {
    const into = this.candidateBuffers[index];
    const found = call((addon) => addon.arenaCandidates(this.handle, index, into));
    this.candidateBuffers[index] = found.tokens.buffer;
    return found;
  }

  /** Ends every wait in this arena, in every process, for good. */
  abort(reason: string): void {
    call((addon) => addon.arenaAbort(this.handle, reason));
  }

  /**
   * Takes the timing records written since the last call; `lost` counts those overwritten unread. The call after the
   * next one overwrites the records.
   */
  drainTimings(): { records: Float64Array; lost: number } {
    const [older, newer] = this.timingBuffers;
    const timings = call((addon) => addon.arenaDrainTimings(this.handle, older));
    this.timingBuffers = [newer, timings.records.buffer];
    return timings;
  }

  /** Takes what observed steps added up since the last call. Between steps only. */
  takeCounts(): FiredCounts {
    return call((addon) => addon.arenaTakeCounts(this.handle));
  }

  /** What a layer did with the rows of the last step; no rows unless that was observed. Between steps only. */
  activations(layer: number): LayerActivations {
    return call((addon) => addon.arenaActivations(this.handle, layer));
  }

  /** Unmaps (and unlinks, if this side created it). A second close is a `closed` error. */
  close(): void {
    call((addon) => addon.arenaClose(this.handle));
  }

  /** For {@link Engine.serve} alone. */
  static handleOf(arena: Arena): object {
    return arena.handle;
  }
}

/** One executor's weights, KV cache and threads. */
export class Engine {
  private constructor(private readonly handle: object) {}

  /** Maps or copies the weights. Aborting `signal` ends the load with a `cancelled` error. */
  static async load(
    plan: EnginePlan,
    options: EngineOptions,
    onProgress: (bytesDone: number, bytesTotal: number) => void,
    signal: AbortSignal | null,
  ): Promise<Engine> {
    return cancellable(
      signal,
      async (token) => new Engine(await call((addon) => addon.engineLoad(plan, options, onProgress, token))),
    );
  }

  get info(): LoadedEngine {
    return call((addon) => addon.engineInfo(this.handle));
  }

  /**
   * Reads the weights that an exchange brings here, while steps run, so that the step that names it only copies them.
   * Takes the place of one that was staged before and not applied. Aborting `signal` ends it with a `cancelled` error.
   * @returns bytes that will be copied
   */
  async stage(exchange: Exchange, signal: AbortSignal | null): Promise<number> {
    return cancellable(signal, (token) => call((addon) => addon.engineStage(this.handle, exchange, token)));
  }

  /** Whether the exchange that was staged last has been applied. */
  get exchanged(): boolean {
    return call((addon) => addon.engineExchanged(this.handle));
  }

  /** Steps computed since the load. */
  get steps(): number {
    return call((addon) => addon.engineSteps(this.handle));
  }

  /**
   * Runs the arena's steps on a thread of its own until {@link stop}, {@link close} or a failure. The KV cache is
   * empty at the start. Serving again, in another arena, is allowed once the promise has settled.
   */
  async serve(arena: Arena): Promise<ServeOutcome> {
    return call((addon) => addon.engineServe(this.handle, Arena.handleOf(arena)));
  }

  /** Ends {@link serve} after the step at hand. Idempotent. */
  stop(): void {
    call((addon) => addon.engineStop(this.handle));
  }

  /** Stops serving and frees everything. A second close is a `closed` error. */
  async close(): Promise<void> {
    return call((addon) => addon.engineClose(this.handle));
  }
}

/** Predictors of one layer, made from its gate and from what was observed of it. */
export class LayerTraining {
  private constructor(private readonly handle: object) {}

  /** Reads the files into memory, as float32. */
  static async open(data: LayerTrainingData): Promise<LayerTraining> {
    return new LayerTraining(await call((addon) => addon.trainingOpen(data)));
  }

  /**
   * Makes a predictor and measures it. One at a time; the same bits for the same arguments and data on one CPU,
   * whatever the threads. Aborting `signal` ends it with a `cancelled` error.
   */
  async fit(
    options: PredictorFitOptions,
    onProgress: (progress: TrainingProgress) => void,
    signal: AbortSignal | null,
  ): Promise<FittedPredictor> {
    return cancellable(signal, (cancel) =>
      call((addon) => addon.trainingFit(this.handle, options, onProgress, cancel)),
    );
  }

  /** Frees the data. A second close is a `closed` error. */
  close(): void {
    call((addon) => addon.trainingClose(this.handle));
  }
}
