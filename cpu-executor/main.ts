/** Entry of the CPU executor: `node dist/cpu-executor/main.js --listen unix:/path --threads 8`. */
import { parseBytes } from "../proto/units.js";
import { cpuDevice } from "./device.js";
import { executorCommand, processOptions, threadOptions } from "./options.js";
import { createLog, exitWithError, runExecutor } from "./process.js";

const command = executorCommand("cpu-executor", "Computes neurons and whole layers on this machine's cores.")
  .option("--budget <size>", "most memory for weights, KV cache and scratch, or none", "none")
  .option("--no-repack", "computes from the model file's pages instead of a faster copy in memory")
  .action(async ({ budget, repack }: { budget: string; repack: boolean }) => {
    const budgetBytes = budget === "none" ? 0 : parseBytes(budget, "--budget");
    const device = cpuDevice({
      ...threadOptions(command),
      budgetBytes,
      library: null,
      residency: repack ? "resident" : "mapped",
    });
    const options = processOptions(command);
    await runExecutor(device, options, createLog("cpu-executor", options));
  });

await command.parseAsync().catch(exitWithError);
