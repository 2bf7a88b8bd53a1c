/** Moves neurons between executors while requests run, as live counts drift from what the placement was made for. */
import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { LayerExchange, Schedule } from "../../native/index.js";
import { ThermoclineError } from "../../proto/errors.js";
import type { ExchangeResult } from "../executors/exchange.js";
import type { Model } from "../model/model.js";
import { WEIGHT_TYPES } from "../model/tensor-types.js";
import { chooseExchanges, type LayerFirings } from "./choose-exchanges.js";

/** One exchange of neurons that was carried out. */
export interface ExchangeRound extends ExchangeResult {
  /** Layers with neurons that moved. */
  layers: number;
  /** Neurons that moved, both ways together. */
  neurons: number;
}

export interface RePlacementOptions {
  model: Model;
  executors: {
    readonly placement: { schedule: Schedule } | null;
    exchange(layers: readonly LayerExchange[]): Promise<ExchangeResult>;
  };
  /** How often neurons fired lately. */
  firings: () => Promise<LayerFirings>;
  onRound: (round: ExchangeRound) => void;
  log: Logger;
  /** From a round's end to the next one's start. */
  intervalMs: number;
  /** Most bytes a round moves, both ways together. */
  mostBytes: number;
}

/**
 * A round costs a step what copying takes, some 2 ms for 4 MiB, and what reading the counts takes, 14 ms for a model of
 * 7B: every five seconds, half a hundredth. 0.8 MiB/s reach the best placement of a gigabyte of hot neurons within some
 * twenty minutes.
 */
export const RE_PLACEMENT_DEFAULTS = { intervalMs: 5000, mostBytes: 4 * 1024 ** 2 };

/** For the log, with a reason. */
export const NOTHING_MOVES = "no neuron will move between executors while requests run";

/** Why neurons of a model cannot be exchanged, or null when they can. */
export function fixedBecause({ shape, downTransposed }: Model): string | null {
  if (shape.activation === "silu") return "with SiLU every token needs every neuron, wherever it lies";
  if (!downTransposed) {
    return "the model stores ffn_down one row an output, where neurons share blocks and cannot move one by one";
  }
  return null;
}

export class RePlacement {
  private readonly closed = new AbortController();
  private readonly neuronBytes: number[];

  constructor(private readonly options: RePlacementOptions) {
    this.neuronBytes = bytesByLayer(options.model);
  }

  /** Does rounds from now on, until {@link close}; or says in the log why there is nothing to do. */
  start(): void {
    const { executors, log } = this.options;
    const reason = oneSided(executors.placement?.schedule ?? null);
    if (reason !== null) log.info({ reason }, NOTHING_MOVES);
    else void this.repeat();
  }

  /** Idempotent. What is under way ends with the executors. */
  close(): void {
    this.closed.abort();
  }

  /** Moves what is worth it. @returns null when nothing is @throws ThermoclineError as an exchange does */
  async round(): Promise<ExchangeRound | null> {
    const { executors, firings, mostBytes, onRound, log } = this.options;
    const counts = await firings();
    const schedule = executors.placement?.schedule;
    if (schedule === undefined) return null;
    const { neuronBytes } = this;
    const layers = await chooseExchanges(schedule, counts, { neuronBytes, mostBytes });
    // Other executors may have taken the place of lost ones, and have got another plan.
    if (layers.length === 0 || executors.placement?.schedule !== schedule) return null;
    const result = await executors.exchange(layers);
    const neurons = 2 * layers.reduce((sum, { first }) => sum + first.length, 0);
    const round = { ...result, layers: layers.length, neurons };
    log.debug(
      { layers: round.layers, neurons, bytes: result.bytes, step: result.step },
      "neurons changed places",
    );
    onRound(round);
    return round;
  }

  private async repeat(): Promise<void> {
    const { intervalMs, log } = this.options;
    const { signal } = this.closed;
    while (!signal.aborted) {
      try {
        await delay(intervalMs, null, { signal, ref: false });
        await this.round();
      } catch (error) {
        if (signal.aborted) return;
        // Executors that were lost come back.
        if (error instanceof ThermoclineError && error.code === "UNAVAILABLE") continue;
        log.error({ err: error }, "neurons stay where they are from now on: an exchange failed");
        return;
      }
    }
  }
}

/** Bytes of a neuron's rows of gate, up and down, by layer. */
function bytesByLayer({ shape, tensors }: Model): number[] {
  const bytes = new Array<number>(shape.layers).fill(0);
  for (const { name, type, cols } of tensors) {
    const match = /^blk\.(\d+)\.ffn_(?:gate|up|down_t)\.weight$/.exec(name);
    if (match === null) continue;
    const layer = Number(match[1]);
    const { blockSize, blockBytes } = WEIGHT_TYPES[type];
    bytes[layer] = (bytes[layer] ?? 0) + (cols / blockSize) * blockBytes;
  }
  return bytes;
}

function oneSided(schedule: Schedule | null): string | null {
  const gpu = schedule?.executors.indexOf("gpu") ?? -1;
  if (gpu < 0) return "there is no GPU executor";
  const isDivided = schedule?.layers.some(
    ({ neuronOwner }) => neuronOwner.includes(gpu) && neuronOwner.some((owner) => owner !== gpu),
  );
  return isDivided === true ? null : "no layer has neurons both on the GPU executor and elsewhere";
}
