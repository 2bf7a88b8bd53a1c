/**
 * Devices with memory of their own, of which nothing is taken that was not reserved: a card, and `host`, which stands in
 * for one where there is none. Host's memory is a budgeted part of this process's own, weights are copied into it, and
 * the kernels are the CPU's.
 */
import type { Device, DeviceEngine } from "../cpu-executor/device.js";
import { type CardInfo, Engine, type EngineOptions, type MemoryNeeds, memoryNeeds } from "../native/index.js";
import type { CardDevice } from "../native/libraries.js";
import { type Amounts, Ledger, type Reservation } from "./ledger.js";

/** The part of the native surface such a device stands on. */
export interface DeviceBackend {
  memoryNeeds: typeof memoryNeeds;
  load(...args: Parameters<typeof Engine.load>): Promise<DeviceEngine>;
}
const NATIVE: DeviceBackend = { memoryNeeds, load: (...args) => Engine.load(...args) };

export class LedgerDevice implements Device {
  readonly kind = "gpu";
  readonly ledger: Ledger;
  readonly card: string | null;
  private readonly options: EngineOptions;

  /** @param found null for `host` */
  constructor(
    readonly name: CardDevice | "host",
    options: Omit<EngineOptions, "residency" | "library">,
    found: { card: CardInfo; library: string } | null,
    private readonly backend: DeviceBackend = NATIVE,
  ) {
    this.options = { ...options, residency: "resident", library: found?.library ?? null };
    this.card = name === "cuda" ? (found?.card.name ?? null) : null;
    this.ledger = new Ledger(`the GPU executor's ${name} device`, options.budgetBytes);
  }

  /** After a fault of the card its driver refuses every call. */
  get endsWithStep(): boolean {
    return this.name !== "host";
  }

  get budgetBytes(): number {
    return this.ledger.capacityBytes;
  }

  get threads(): number {
    return this.options.threads;
  }

  async load(...[plan, onProgress, signal]: Parameters<Device["load"]>): Promise<DeviceEngine> {
    const reservation = this.ledger.reserve(amounts(this.backend.memoryNeeds(plan, this.options)));
    try {
      const engine = await this.backend.load(plan, this.options, onProgress, signal);
      try {
        reservation.markUsed(amounts(engine.info.memory));
      } catch (error) {
        await engine.close();
        throw error;
      }
      return new ReservedEngine(engine, reservation);
    } catch (error) {
      reservation.release();
      throw error;
    }
  }
}

/** An engine whose memory goes back into the books when it is closed. */
class ReservedEngine implements DeviceEngine {
  constructor(
    private readonly engine: DeviceEngine,
    private readonly reservation: Reservation,
  ) {}

  get info() {
    return this.engine.info;
  }

  get steps() {
    return this.engine.steps;
  }

  get exchanged() {
    return this.engine.exchanged;
  }

  stage(...args: Parameters<DeviceEngine["stage"]>) {
    return this.engine.stage(...args);
  }

  serve(...args: Parameters<DeviceEngine["serve"]>) {
    return this.engine.serve(...args);
  }

  stop() {
    this.engine.stop();
  }

  async close() {
    await this.engine.close();
    this.reservation.release();
  }
}

function amounts({ weightBytes, kvCacheBytes, scratchBytes }: MemoryNeeds): Amounts {
  return { weights: weightBytes, "kv-cache": kvCacheBytes, scratch: scratchBytes };
}
