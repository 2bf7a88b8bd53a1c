/**
 * A machine as far as it can be known in a moment: what its memory gives, and what kernels usually make of that. For
 * more, `thermocline plan` measures the executors themselves.
 */
import { findCard } from "../../native/find-card.js";
import { machine as findMachine, measureBandwidth } from "../../native/index.js";
import { MACHINE_FORMAT, type PlacementMachine } from "./machine.js";
import type { PlacementExecutor } from "./schedule.js";

/** Well past most caches; small models live in them, and so does the buffer then. */
const MOST_BUFFER_BYTES = 128 * 1024 ** 2;
const LEAST_BUFFER_BYTES = 1024 ** 2;
const SECONDS = 0.03;

/** Of what a card's memory could move at most, what a copy usually moves. */
const CARD_REACHED = 0.8;
/**
 * Taken for a card of which nothing is known, as a multiple of the CPU's memory: that of well-known cards beside desktops
 * is 11 to 18. The host device is planned for as the card it stands for, and not as the CPU's cores it really is: on those a
 * small model is best placed without it, and there would be nothing to see. `thermocline plan` measures what it is.
 */
const CARD_FACTOR = 12;
/** Both ways between processes that spin while they wait. */
const HOST_HAND_OVER_US = 2;
const CARD_HAND_OVER_US = 20;

/**
 * @param modelBytes decides whether weights come from memory or from a cache
 * @param find looks for the card that a "cuda" device is
 */
export async function estimateMachine(
  executors: readonly PlacementExecutor[],
  modelBytes: number,
  find: typeof findCard = findCard,
): Promise<PlacementMachine> {
  const { cpu, memoryBytes, availableMemoryBytes } = findMachine();
  const most = Math.min(MOST_BUFFER_BYTES, Math.floor(availableMemoryBytes / 8));
  const bufferBytes = Math.max(LEAST_BUFFER_BYTES, Math.min(most, modelBytes));
  const threads = executors.reduce(
    (sum, executor) => sum + (executor.kind === "cpu" ? executor.threads : 0),
    0,
  );
  const bytesPerS = await measureBandwidth(Math.max(threads, 1), bufferBytes, SECONDS);
  const gpu = executors.find(({ kind }) => kind === "gpu");
  const found = gpu?.device === "cuda" ? await find("cuda") : null;
  const told = found?.kind === "card" ? CARD_REACHED * found.card.memoryBytesPerS : 0;
  const handOverUs = gpu?.device === "host" ? HOST_HAND_OVER_US : CARD_HAND_OVER_US;
  const kernels: PlacementMachine["cpu"]["kernels"] = [
    { type: "any", stage: "neurons", share: 0.7 },
    { type: "any", stage: "any", share: 0.8 },
  ];
  return {
    format: MACHINE_FORMAT,
    name: cpu,
    source: "estimated",
    note:
      `the CPU's memory was measured${told > 0 ? ", the card's is as its driver describes it" : ""}, all else is ` +
      "assumed; `thermocline plan` measures it",
    gpu: {
      name: gpu?.card ?? gpu?.device ?? "none",
      bytesPerS: told > 0 ? told : CARD_FACTOR * bytesPerS,
      kernels,
      startUs: 1,
      memoryBytes: gpu?.budgetBytes || memoryBytes,
      reserveBytes: 0,
    },
    cpu: { name: cpu, bytesPerS, kernels, startUs: 1 },
    handOverUs,
    residualUs: handOverUs / 2,
    stepUs: 100,
    contention: 0,
  };
}
