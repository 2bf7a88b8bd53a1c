/**
 * A machine as far as it can be known in a moment: what its memory gives, and what kernels usually make of that. For
 * more, `thermocline plan` measures the executors themselves.
 */
import { machine as findMachine, measureBandwidth } from "../../native/index.js";
import { MACHINE_FORMAT, type PlacementMachine } from "./machine.js";
import type { PlacementExecutor } from "./schedule.js";

/** Well past most caches; small models live in them, and so does the buffer then. */
const MOST_BUFFER_BYTES = 128 * 1024 ** 2;
const LEAST_BUFFER_BYTES = 1024 ** 2;
const SECONDS = 0.03;

/** Taken for a card nobody measured: of one some years old. */
const UNKNOWN_CARD_BYTES_PER_S = 400e9;
/** What two processes on two cores pay for waking each other, when one of them waited longer than it spins. */
const HOST_HAND_OVER_US = 20;

/** @param modelBytes decides whether weights come from memory or from a cache */
export async function estimateMachine(
  executors: readonly PlacementExecutor[],
  modelBytes: number,
): Promise<PlacementMachine> {
  const { cpu, memoryBytes, availableMemoryBytes } = findMachine();
  const most = Math.min(MOST_BUFFER_BYTES, Math.floor(availableMemoryBytes / 8));
  const bufferBytes = Math.max(LEAST_BUFFER_BYTES, Math.min(most, modelBytes));
  const read = (threads: number) => measureBandwidth(Math.max(threads, 1), bufferBytes, SECONDS);
  const sum = (kind: string) =>
    executors.reduce((total, executor) => total + (executor.kind === kind ? executor.threads : 0), 0);
  const [gpuThreads, cpuThreads] = [sum("gpu"), sum("cpu")];
  const gpu = executors.find(({ kind }) => kind === "gpu");
  const isHost = gpu?.device === "host";
  const cpuBytesPerS = await read(cpuThreads);
  const gpuBytesPerS = isHost ? await read(gpuThreads) : UNKNOWN_CARD_BYTES_PER_S;
  const bothBytesPerS = isHost ? await read(gpuThreads + cpuThreads) : gpuBytesPerS + cpuBytesPerS;
  const kernels: PlacementMachine["cpu"]["kernels"] = [
    { type: "any", stage: "neurons", share: 0.7 },
    { type: "any", stage: "any", share: 0.8 },
  ];
  return {
    format: MACHINE_FORMAT,
    name: cpu,
    source: "estimated",
    note: "the memory's bandwidth is measured, all else assumed; `thermocline plan` measures it",
    gpu: {
      name: gpu?.device ?? "none",
      bytesPerS: gpuBytesPerS,
      kernels,
      startUs: 5,
      memoryBytes: gpu?.budgetBytes || memoryBytes,
      reserveBytes: 0,
    },
    cpu: { name: cpu, bytesPerS: cpuBytesPerS, kernels, startUs: 5 },
    handOverUs: HOST_HAND_OVER_US,
    residualUs: HOST_HAND_OVER_US / 2,
    stepUs: 100,
    contention: Math.min(1, Math.max(0, (gpuBytesPerS + cpuBytesPerS) / bothBytesPerS - 1)),
  };
}
