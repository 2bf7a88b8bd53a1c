/** The books of a device's memory: nothing is taken from the device that was not reserved here first. */
import { ThermoclineError } from "../proto/errors.js";
import { formatBytes } from "../proto/units.js";

/** Bytes by purpose, such as `weights`, `kv-cache` and `scratch`. */
export type Amounts = Readonly<Record<string, number>>;

export class Ledger {
  private readonly held = new Set<Reservation>();

  /**
   * @param device whose memory it is, for errors
   * @param capacityBytes all there is to give away
   */
  constructor(
    readonly device: string,
    readonly capacityBytes: number,
  ) {}

  get reservedBytes(): number {
    let bytes = 0;
    for (const reservation of this.held) bytes += reservation.bytes;
    return bytes;
  }

  get freeBytes(): number {
    return this.capacityBytes - this.reservedBytes;
  }

  get reservations(): readonly Reservation[] {
    return [...this.held];
  }

  /**
   * Sets memory aside, all of it or none.
   * @throws ThermoclineError RESOURCE_EXHAUSTED when there is not enough
   */
  reserve(amounts: Amounts): Reservation {
    const wanted = total(amounts);
    if (wanted > this.freeBytes) {
      throw new ThermoclineError(
        "RESOURCE_EXHAUSTED",
        `${formatBytes(wanted)} (${describe(amounts)}) were asked of ${this.device}, which has ` +
          `${formatBytes(this.freeBytes)} free of ${formatBytes(this.capacityBytes)}; raise --vram-budget, or place ` +
          "less there",
      );
    }
    const reservation = new Reservation(amounts, () => this.held.delete(reservation));
    this.held.add(reservation);
    return reservation;
  }
}

/** Memory set aside under its purposes, until it is released. */
export class Reservation {
  private used: Amounts = {};

  constructor(
    readonly amounts: Amounts,
    private readonly onRelease: () => void,
  ) {}

  get bytes(): number {
    return total(this.amounts);
  }

  get usedBytes(): number {
    return total(this.used);
  }

  /**
   * Enters what was really taken.
   * @throws ThermoclineError INTERNAL when that is not what was reserved, purpose by purpose: the books are wrong
   */
  markUsed(used: Amounts): void {
    for (const purpose of new Set([...Object.keys(this.amounts), ...Object.keys(used)])) {
      const reserved = this.amounts[purpose] ?? 0;
      const taken = used[purpose] ?? 0;
      if (taken === reserved) continue;
      throw new ThermoclineError(
        "INTERNAL",
        `${taken} bytes were taken for ${purpose}, but ${reserved} were reserved: this is a defect, please report it`,
      );
    }
    this.used = used;
  }

  /** Gives the memory back. Idempotent. */
  release(): void {
    this.used = {};
    this.onRelease();
  }
}

function total(amounts: Amounts): number {
  return Object.values(amounts).reduce((sum, bytes) => sum + bytes, 0);
}

function describe(amounts: Amounts): string {
  return Object.entries(amounts)
    .map(([purpose, bytes]) => `${purpose} ${formatBytes(bytes)}`)
    .join(", ");
}
