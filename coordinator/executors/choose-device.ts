/** What computes hot neurons on this machine, and how much of its memory is used. */
import { type Driver, describeDriver, findDriver } from "../../native/driver.js";
import { type FoundCard, findCard } from "../../native/find-card.js";
import type { CardInfo } from "../../native/index.js";
import type { CardDevice } from "../../native/libraries.js";
import { ThermoclineError } from "../../proto/errors.js";
import { formatBytes } from "../../proto/units.js";

export const GPU_CHOICES = ["auto", "cuda", "emulated", "host", "off"] as const;
export type GpuChoice = (typeof GPU_CHOICES)[number];

/** What a GPU executor runs on. */
export type GpuDevice = CardDevice | "host";

export interface ChosenDevice {
  device: GpuDevice | "off";
  /** The real one that was found; null for all that stands in for one. */
  card: CardInfo | null;
  /** One line for the user when `auto` found no GPU. */
  note: string | null;
}

/**
 * Of a card's memory: the driver's context and the kernels' code take some 300 to 500 MiB once the executor has opened
 * it, and a desktop some more as windows come and go.
 */
const RESERVE_BYTES = 512 * 1024 ** 2;
const RESERVE_SHARE = 0.02;

export interface DeviceSearch {
  driver?: Driver;
  find?: (device: CardDevice) => Promise<FoundCard>;
}

/** @throws ThermoclineError FAILED_PRECONDITION when a card was asked for and cannot be had */
export async function chooseDevice(
  choice: GpuChoice,
  { driver = findDriver(), find = findCard }: DeviceSearch = {},
): Promise<ChosenDevice> {
  if (choice === "host" || choice === "off") return { device: choice, card: null, note: null };
  const instead = "everything runs on the CPU (--gpu host simulates a card in RAM)";
  if (choice === "auto" && !driver.controlDevice) {
    return { device: "off", card: null, note: `no GPU was found: ${instead}` };
  }
  const wanted = choice === "auto" ? "cuda" : choice;
  const found = await find(wanted);
  if (found.kind === "card") {
    return { device: wanted, card: wanted === "cuda" ? found.card : null, note: null };
  }
  if (choice === "auto") return { device: "off", card: null, note: `${found.problem}: ${instead}` };
  throw new ThermoclineError(
    "FAILED_PRECONDITION",
    `--gpu ${choice}: ${found.problem}${choice === "cuda" ? ` (${describeDriver(driver)})` : ""}; use --gpu off, or ` +
      "--gpu host to simulate a card in RAM",
  );
}

/** What a card's weights, KV cache and scratch may take, in bytes. */
export function usableBytes({ memoryBytes, freeBytes }: CardInfo): number {
  return Math.max(0, freeBytes - RESERVE_BYTES - Math.ceil(RESERVE_SHARE * memoryBytes));
}

/**
 * @param asked by --vram-budget; null takes what there is
 * @throws ThermoclineError RESOURCE_EXHAUSTED when that is more than the card has to give
 */
export function cardBudgetBytes(card: CardInfo, asked: number | null): number {
  const usable = usableBytes(card);
  const has =
    `${card.name} has ${formatBytes(card.freeBytes)} free of ${formatBytes(card.memoryBytes)}, of which ` +
    `${formatBytes(card.freeBytes - usable)} are kept for the driver and others`;
  if (usable === 0) {
    throw new ThermoclineError("RESOURCE_EXHAUSTED", `${has}; end what uses the card, or use --gpu off`);
  }
  if (asked === null) return usable;
  if (asked <= usable) return asked;
  throw new ThermoclineError(
    "RESOURCE_EXHAUSTED",
    `--vram-budget is ${formatBytes(asked)}: ${has}; give at most ${formatBytes(usable)}`,
  );
}
