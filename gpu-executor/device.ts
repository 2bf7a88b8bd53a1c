/** Which device a GPU executor runs on. */
import type { Device } from "../cpu-executor/device.js";
import { type Driver, describeDriver, findDriver } from "../native/driver.js";
import { type FoundCard, findCard } from "../native/find-card.js";
import type { EngineOptions } from "../native/index.js";
import type { CardDevice } from "../native/libraries.js";
import { ThermoclineError } from "../proto/errors.js";
import { LedgerDevice } from "./ledger-device.js";

export const DEVICE_CHOICES = ["auto", "cuda", "emulated", "host"] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

export interface DeviceSearch {
  driver?: Driver;
  find?: (device: CardDevice) => Promise<FoundCard>;
}

/**
 * Opens the device that was asked for. `auto` takes the best one there is.
 * @param say is told in one line what `auto` found
 * @throws ThermoclineError FAILED_PRECONDITION when the device cannot be had here
 */
export async function openDevice(
  choice: DeviceChoice,
  options: Omit<EngineOptions, "residency" | "library">,
  say: (line: string) => void,
  { driver = findDriver(), find = findCard }: DeviceSearch = {},
): Promise<Device> {
  if (choice === "host") return new LedgerDevice("host", options, null);
  if (choice === "auto" && !driver.controlDevice) {
    say("there is no GPU on this machine: the host device runs instead");
    return new LedgerDevice("host", options, null);
  }
  const wanted = choice === "auto" ? "cuda" : choice;
  const found = await find(wanted);
  if (found.kind === "card") {
    say(`${found.card.name} computes`);
    // Kernels' code is loaded, and for cards newer than this build compiled, while weights are: within the first step,
    // which else does it, others wait for theirs.
    process.env.CUDA_MODULE_LOADING ??= "EAGER";
    return new LedgerDevice(wanted, options, found);
  }
  if (choice === "auto") {
    say(`${found.problem}: the host device runs instead`);
    return new LedgerDevice("host", options, null);
  }
  throw new ThermoclineError(
    "FAILED_PRECONDITION",
    `--device ${choice}: ${found.problem}${choice === "cuda" ? ` (${describeDriver(driver)})` : ""}; use --device host`,
  );
}
