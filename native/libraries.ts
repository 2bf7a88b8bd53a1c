/** Device libraries, which lie beside the addon where they were built. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** `cuda` computes on an NVIDIA card; `emulated` runs the same kernels on the CPU, slowly, to be looked at. */
export const CARD_DEVICES = ["cuda", "emulated"] as const;
export type CardDevice = (typeof CARD_DEVICES)[number];

export function isCard(device: string): device is CardDevice {
  return (CARD_DEVICES as readonly string[]).includes(device);
}

/** The path of what the native build left, or null. */
export function builtFile(name: string): string | null {
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const file = join(folder, "native/build/Release", name);
    if (existsSync(file)) return file;
    if (folder === dirname(folder)) return null;
  }
}

/** The path of a device's library; null when it was not built. */
export function cardLibrary(device: CardDevice): string | null {
  return builtFile(`libthermocline_${device}.so`);
}
