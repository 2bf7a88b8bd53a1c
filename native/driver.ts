/** What of an NVIDIA driver this machine has. */
import { existsSync } from "node:fs";
import { join } from "node:path";

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
  const { LD_LIBRARY_PATH = "" } = process.env;
  const given = LD_LIBRARY_PATH.split(":").filter((folder) => folder !== "");
  return {
    controlDevice: exists("/dev/nvidiactl"),
    library: [...given, ...LIBRARY_FOLDERS].some((folder) => exists(join(folder, "libcuda.so.1"))),
  };
}

/** A phrase such as "no NVIDIA driver was found: neither /dev/nvidiactl nor libcuda.so.1". */
export function describeDriver({ controlDevice, library }: Driver): string {
  if (controlDevice && library) return "an NVIDIA driver was found: /dev/nvidiactl and libcuda.so.1";
  if (controlDevice) return "an NVIDIA driver was found, /dev/nvidiactl, but no libcuda.so.1";
  if (library) return "libcuda.so.1 was found, but no NVIDIA driver is loaded: /dev/nvidiactl is missing";
  return "no NVIDIA driver was found: neither /dev/nvidiactl nor libcuda.so.1";
}
