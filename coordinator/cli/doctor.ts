/** `thermocline doctor`: what this machine has and lacks for running models. */
import { Command } from "commander";
import { describeDriver, findDriver } from "../../native/driver.js";
import { findCard } from "../../native/find-card.js";
import { type CardInfo, machine, measureBandwidth } from "../../native/index.js";
import { formatBytes } from "../../proto/units.js";

/** Well past any last-level cache. */
const BANDWIDTH_BUFFER_BYTES = 512 * 1024 ** 2;
const BANDWIDTH_SECONDS = 1;
/** Activations of a step for a 70B model: 64 rows of a few embeddings, 4 rows of logits. */
const SHARED_MEMORY_WANTED_BYTES = 64 * 1024 ** 2;

interface Finding {
  name: string;
  value: string;
  /** What is missing and what to do, or null when all is well. */
  advice: string | null;
}

export function doctorCommand(): Command {
  return new Command("doctor")
    .description(
      "Says what this machine has and lacks: cores, instruction sets, memory bandwidth, GPU, shared memory.",
    )
    .option("--json", "prints JSON")
    .addHelpText("after", "\nExample:\n  thermocline doctor")
    .action(async (options: { json?: boolean }) => {
      if (options.json !== true)
        process.stderr.write(`measuring memory bandwidth (${2 * BANDWIDTH_SECONDS} s) ...\n`);
      const findings = await examine();
      if (options.json === true) {
        process.stdout.write(`${JSON.stringify(findings, null, 2)}\n`);
        return;
      }
      const width = Math.max(...findings.map((finding) => finding.name.length));
      for (const { name, value, advice } of findings) {
        process.stdout.write(`${advice === null ? "  ok" : "note"}  ${name.padEnd(width)}  ${value}\n`);
        if (advice !== null) process.stdout.write(`${" ".repeat(width + 8)}${advice}\n`);
      }
    });
}

export function describeCard(card: CardInfo): string {
  const { name, memoryBytes, freeBytes, memoryBytesPerS, computeMajor, computeMinor } = card;
  const rate = memoryBytesPerS > 0 ? ` at ${(memoryBytesPerS / 1e9).toFixed(0)} GB/s` : "";
  return (
    `${name}, compute capability ${computeMajor}.${computeMinor}, ${formatBytes(freeBytes)} free of ` +
    `${formatBytes(memoryBytes)}${rate}${describeWaits(card)}`
  );
}

function describeWaits({ memoryOperations, kernelTimeLimit }: CardInfo): string {
  if (memoryOperations) return "";
  // Where others take that long over a layer's neurons, its executor is lost and starts anew.
  const limit = kernelTimeLimit ? ", which its driver ends after some seconds" : "";
  return `, waits for other executors by kernels that spin${limit}`;
}

async function examine(): Promise<Finding[]> {
  const found = machine();
  const driver = findDriver();
  const gpu = driver.controlDevice ? await findCard("cuda") : null;
  const bytes = Math.min(BANDWIDTH_BUFFER_BYTES, Math.floor(found.availableMemoryBytes / 4));
  const one = await measureBandwidth(1, bytes, BANDWIDTH_SECONDS);
  const all = await measureBandwidth(found.cores, bytes, BANDWIDTH_SECONDS);
  const rate = (bytesPerSecond: number) => `${(bytesPerSecond / 1e9).toFixed(1)} GB/s`;
  const vectors = found.instructionSets.includes("avx2");
  const shared = found.availableSharedMemoryBytes;
  return [
    { name: "CPU", value: found.cpu, advice: null },
    { name: "cores", value: String(found.cores), advice: null },
    {
      name: "instruction sets",
      value: found.instructionSets.join(", "),
      advice: vectors ? null : "This CPU has no AVX2, FMA and F16C: everything works, several times slower.",
    },
    {
      name: "memory",
      value: `${formatBytes(found.availableMemoryBytes)} available of ${formatBytes(found.memoryBytes)}`,
      advice: null,
    },
    {
      name: "memory bandwidth",
      value: `${rate(one)} on one core, ${rate(all)} on ${found.cores}`,
      advice: null,
    },
    {
      name: "GPU",
      value: gpu?.kind === "card" ? describeCard(gpu.card) : describeDriver(driver),
      advice:
        gpu?.kind === "card"
          ? null
          : `${gpu === null ? "" : `It cannot be used: ${gpu.problem}. `}Models run on the CPU; --gpu host simulates a card in RAM.`,
    },
    {
      name: "shared memory",
      value: `${formatBytes(shared)} free of ${formatBytes(found.sharedMemoryBytes)} in /dev/shm`,
      advice:
        shared >= SHARED_MEMORY_WANTED_BYTES
          ? null
          : `A large model's activations want ${formatBytes(SHARED_MEMORY_WANTED_BYTES)}: enlarge /dev/shm (in Docker: shm_size).`,
    },
  ];
}
