/** Entry of the GPU executor: `node dist/gpu-executor/main.js --listen unix:/path --vram-budget 4GiB`. */
import { Option } from "commander";
import { executorCommand, processOptions, threadOptions } from "../cpu-executor/options.js";
import { createLog, exitWithError, runExecutor } from "../cpu-executor/process.js";
import { vramBudget } from "./budget.js";
import { DEVICE_CHOICES, type DeviceChoice, openDevice } from "./device.js";

const command = executorCommand("gpu-executor", "Computes hot neurons and whole layers in the card's memory.")
  .addOption(
    new Option(
      "--device <device>",
      "cuda, host (stands in for a card), emulated (a card's kernels on the CPU), or auto",
    )
      .choices(DEVICE_CHOICES)
      .default("auto"),
  )
  .option("--vram-budget <size>", "most device memory to use; auto: a quarter of RAM, at most 1 GiB", "auto")
  .action(async (raw: { device: DeviceChoice; vramBudget: string }) => {
    const options = processOptions(command);
    const log = createLog("gpu-executor", options);
    const budgetBytes = vramBudget(raw.vramBudget);
    const device = await openDevice(raw.device, { ...threadOptions(command), budgetBytes }, (line) =>
      log.info(line),
    );
    await runExecutor(device, options, log);
  });

await command.parseAsync().catch(exitWithError);
