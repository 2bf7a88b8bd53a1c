/** A card that is not there. */
import type { CardInfo } from "../../native/index.js";

/** As a driver may describe it. */
export const CARD: CardInfo = {
  name: "a card",
  memoryBytes: 24 * 1024 ** 3,
  freeBytes: 23 * 1024 ** 3,
  memoryBytesPerS: 1.008e12,
  memoryOperations: true,
  kernelTimeLimit: false,
  computeMajor: 8,
  computeMinor: 9,
  driverVersion: 12_040,
  runtimeVersion: 12_040,
};
