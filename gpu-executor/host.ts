/**
 * The `host` device: stands in for a card where there is none. Its memory is a budgeted part of this process's own,
 * weights are copied into it, and the kernels are the CPU's; all else is as with a card.
 */
import type { Device, DeviceEngine } from "../cpu-executor/device.js";
import { Engine, type EngineOptions, type MemoryNeeds, memoryNeeds } from "../native/index.js";
import { type Amounts, Ledger, type Reservation } from "./ledger.js";

/** The part of the native surface the device stands on. */
export interface HostBackend {
  memoryNeeds: typeof memoryNeeds;
  load(...args: Parameters<typeof Engine.load>): Promise<DeviceEngine>;
}
const NATIVE: HostBackend = { memoryNeeds, load: (...args) => Engine.load(...args) };

export class HostDevice implements Device {
  readonly kind = "gpu";
  readonly name = "host";
  readonly ledger: Ledger;
  private readonly options: EngineOptions;

  constructor(
    options: Omit<EngineOptions, "residency">,
    private readonly backend: HostBackend = NATIVE,
  ) {
    this.options = { ...options, residency: "resident" };
    this.ledger = new Ledger("the GPU executor's host device", options.budgetBytes);
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
