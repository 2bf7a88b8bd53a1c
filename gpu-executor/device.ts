/** Which device a GPU executor runs on. */
import type { Device } from "../cpu-executor/device.js";
import { type Driver, describeDriver, findDriver } from "../native/driver.js";
import type { EngineOptions } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import { HostDevice } from "./host.js";

export const DEVICE_CHOICES = ["auto", "cuda", "host"] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

/**
 * Opens the device that was asked for. `auto` takes the best one this build has.
 * @param say is told in one line when `auto` could not give a real GPU
 * @throws ThermoclineError FAILED_PRECONDITION when the device cannot be had here
 */
export function openDevice(
  choice: DeviceChoice,
  options: Omit<EngineOptions, "residency">,
  say: (line: string) => void,
  driver: Driver = findDriver(),
): Device {
  if (choice === "cuda") {
    throw new ThermoclineError(
      "FAILED_PRECONDITION",
      `--device cuda: this build has no CUDA device (${describeDriver(driver)}); use --device host`,
    );
  }
  if (choice === "auto") {
    say(
      driver.controlDevice
        ? "an NVIDIA driver was found, but this build has no CUDA device: the host device runs instead"
        : "there is no GPU on this machine: the host device runs instead",
    );
  }
  return new HostDevice(options);
}
