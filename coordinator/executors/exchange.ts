/** Neurons that change places between executors while steps run (docs/decisions/re-placement.md). */
import { type LayerExchange, monotonicNs, PHASES, type Schedule, TIMING_FIELDS } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import { enginePlan } from "../placement/schedule.js";
import type { StepLimits } from "../schedule/step.js";
import { allOrAbort, type ModelFile } from "./load.js";
import { planDigest } from "./load-request.js";
import type { Member } from "./member.js";

/** What an exchange took. Times are nanoseconds of CLOCK_MONOTONIC. */
export interface ExchangeResult {
  /** Of weights copied, over all executors. */
  bytes: number;
  /** While these were read, steps went on. */
  staging: { startNs: number; endNs: number };
  /** The step that applied it. */
  step: number;
  /** From the first executor's start of copying to the last one's end. */
  applying: { startNs: number; endNs: number };
}

/** What every executor has staged, for the next step to apply. */
interface Staged {
  number: number;
  /** As it is afterwards. */
  schedule: Schedule;
  applied: (step: number, timings: Float64Array) => void;
}

/** Reading a few MB takes long only where the disk is slow. */
const STAGE_TIMEOUT_MS = 30_000;
const WIDTH = TIMING_FIELDS.length;

/** One exchange at a time: every executor stages it, and the next step applies it on all of them. */
export class Exchanges {
  private last = 0;
  /** Ends the exchange under way. */
  private control: AbortController | null = null;
  private staged: Staged | null = null;

  constructor(
    private readonly members: readonly Member[],
    private readonly model: ModelFile,
    private readonly limits: StepLimits,
  ) {}

  /** What the step that is submitted next has to apply. */
  get next(): Staged | null {
    return this.staged;
  }

  /**
   * @param schedule as it is
   * @throws ThermoclineError as StageExchange does, or what {@link abandon} was told; FAILED_PRECONDITION while another
   * exchange is under way
   */
  async run(layers: readonly LayerExchange[], schedule: Schedule): Promise<ExchangeResult> {
    if (this.control !== null) {
      throw new ThermoclineError(
        "FAILED_PRECONDITION",
        "an exchange of neurons is under way: wait for its end",
      );
    }
    const control = new AbortController();
    this.control = control;
    try {
      const startNs = monotonicNs();
      const number = ++this.last;
      const after = exchanged(schedule, layers);
      const bytes = await this.stage(number, layers, after, control);
      const endNs = monotonicNs();
      const { step, applying } = await this.untilApplied(number, after, control.signal);
      return { bytes: sum(bytes), staging: { startNs, endNs }, step, applying };
    } finally {
      if (this.control === control) this.control = null;
    }
  }

  /** Tells of a step that has ended. */
  ended(step: number, timings: Float64Array): void {
    const { staged } = this;
    this.staged = null;
    staged?.applied(step, timings);
  }

  /** The executors are lost: whatever is under way will not be applied any more. */
  abandon(reason: ThermoclineError): void {
    this.staged = null;
    this.control?.abort(reason);
  }

  private async stage(
    number: number,
    layers: readonly LayerExchange[],
    schedule: Schedule,
    control: AbortController,
  ): Promise<number[]> {
    const pairs = layers.map(({ layer, first, second }) => ({
      layer,
      first: [...first],
      second: [...second],
    }));
    const bytes = await allOrAbort(this.members, control, (member, executor) => {
      const digest = planDigest(enginePlan(this.model, schedule, executor, this.limits));
      const request = { number: BigInt(number), layers: pairs, planDigest: digest };
      return member.stageExchange(request, STAGE_TIMEOUT_MS, control.signal);
    });
    control.signal.throwIfAborted();
    return bytes;
  }

  private untilApplied(
    number: number,
    schedule: Schedule,
    signal: AbortSignal,
  ): Promise<Pick<ExchangeResult, "step" | "applying">> {
    return new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
      const applied = (step: number, timings: Float64Array) =>
        resolve({ step, applying: applyingTimes(step, timings) });
      this.staged = { number, schedule, applied };
    });
  }
}

/** The schedule after an exchange; layers whose neurons stay are the same objects. */
export function exchanged(schedule: Schedule, exchanges: readonly LayerExchange[]): Schedule {
  const layers = [...schedule.layers];
  for (const { layer, first, second } of exchanges) {
    const before = layers[layer];
    if (before === undefined) continue;
    const neuronOwner = before.neuronOwner.slice();
    for (const [i, neuron] of first.entries()) {
      const other = second[i] ?? neuron;
      neuronOwner[neuron] = before.neuronOwner[other] ?? 0;
      neuronOwner[other] = before.neuronOwner[neuron] ?? 0;
    }
    layers[layer] = { ...before, neuronOwner };
  }
  return { ...schedule, layers };
}

/** From the first start to the last end of the step's records of an exchange. */
function applyingTimes(step: number, timings: Float64Array): ExchangeResult["applying"] {
  const field = (at: number, name: (typeof TIMING_FIELDS)[number]) =>
    timings[at + TIMING_FIELDS.indexOf(name)] ?? 0;
  const starts: number[] = [];
  const ends: number[] = [];
  for (let at = 0; at + WIDTH <= timings.length; at += WIDTH) {
    if (PHASES[field(at, "phase")] !== "exchange" || field(at, "step") !== step) continue;
    starts.push(field(at, "startNs"));
    ends.push(field(at, "endNs"));
  }
  return { startNs: Math.min(...starts), endNs: Math.max(...ends) };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
