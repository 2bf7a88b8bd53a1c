/**
 * Machines to plan for without having them. Memory sizes and bandwidths are those of public data sheets; what kernels
 * reach of them, and latencies, are assumptions, the same for all. Only a measured machine's predictions mean much.
 */
import type { PlacementMachine } from "./machine.js";

const GIB = 1024 ** 3;
const NOTE =
  "memory sizes and bandwidths from data sheets; kernel shares, latencies and the reserve are assumptions, not measured";

function example(
  gpu: { name: string; gib: number; gbPerS: number },
  cpu: { name: string; gbPerS: number },
): PlacementMachine {
  return {
    format: "thermocline-machine-1",
    name: `${gpu.name} + ${cpu.name}`,
    source: "data sheet",
    note: NOTE,
    gpu: {
      name: gpu.name,
      bytesPerS: gpu.gbPerS * 1e9,
      kernels: [
        { type: "any", stage: "neurons", share: 0.6 },
        { type: "any", stage: "any", share: 0.75 },
      ],
      startUs: 10,
      memoryBytes: gpu.gib * GIB,
      reserveBytes: GIB / 2,
    },
    cpu: {
      name: cpu.name,
      bytesPerS: cpu.gbPerS * 1e9,
      kernels: [
        { type: "any", stage: "neurons", share: 0.65 },
        { type: "any", stage: "any", share: 0.75 },
      ],
      startUs: 5,
    },
    handOverUs: 20,
    residualUs: 10,
    stepUs: 200,
    contention: 0,
  };
}

/** Two channels of a desktop board: the transfers a second times 16 bytes. */
const DDR5_5600 = { name: "DDR5-5600, 2 channels", gbPerS: 89.6 };
const DDR4_3200 = { name: "DDR4-3200, 2 channels", gbPerS: 51.2 };

export const EXAMPLE_MACHINES: readonly { id: string; machine: PlacementMachine }[] = [
  { id: "rtx-4090-ddr5", machine: example({ name: "GeForce RTX 4090", gib: 24, gbPerS: 1008 }, DDR5_5600) },
  { id: "rtx-3090-ddr4", machine: example({ name: "GeForce RTX 3090", gib: 24, gbPerS: 936 }, DDR4_3200) },
  {
    id: "rtx-2080ti-ddr4",
    machine: example({ name: "GeForce RTX 2080 Ti", gib: 11, gbPerS: 616 }, DDR4_3200),
  },
];
