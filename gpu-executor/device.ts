/** Which device a GPU executor runs on. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Device } from "../cpu-executor/device.js";
import type { EngineOptions } from "../native/index.js";
import { ThermoclineError } from "../proto/errors.js";
import { HostDevice } from "./host.js";

export const DEVICE_CHOICES = ["auto", "cuda", "host"] as const;
export type DeviceChoice = (typeof DEVICE_CHOICES)[number];

/** Where distributions, containers and WSL put the driver's library. */
const LIBRARY_FOLDERS = [
  "/usr/lib/x86_64-linux-gnu",
  "/usr/lib64",
  "/usr/lib",
  "/usr/lib/wsl/lib",
  "/usr/local/cuda/compat",
];

/** What of an NVIDIA driver is there. */
export interface Driver {
  /** `/dev/nvidiactl`: the kernel module is loaded and this process may see it. */
  controlDevice: boolean;
  /** `libcuda.so.1` */
  library: boolean;
}

export function findDriver(exists: (path: string) => boolean = existsSync): Driver {
  const given = (process.env["LD_LIBRARY_PATH"] ?? "").split(":").filter((folder) => folder !== "");
  return {
    controlDevice: exists("/dev/nvidiactl"),
    library: [...given, ...LIBRARY_FOLDERS].some((folder) => exists(join(folder, "libcuda.so.1"))),
  };
}

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
      `--device cuda: this build has no CUDA device (${describe(driver)}); use --device host`,
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

function describe({ controlDevice, library }: Driver): string {
  if (controlDevice && library) return "an NVIDIA driver was found: /dev/nvidiactl and libcuda.so.1";
  if (controlDevice) return "an NVIDIA driver was found, /dev/nvidiactl, but no libcuda.so.1";
  if (library) return "libcuda.so.1 was found, but no NVIDIA driver is loaded: /dev/nvidiactl is missing";
  return "and no NVIDIA driver was found: neither /dev/nvidiactl nor libcuda.so.1";
}
