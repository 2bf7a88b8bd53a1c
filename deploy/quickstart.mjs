// From a fresh clone to a story: sets up, starts coordinator, GPU executor and CPU executor, and calls Generate.
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runScript, setUp } from "./setup.mjs";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

await runScript(async () => {
  await setUp({ production: true });
  const generate = [
    "generate",
    "--prompt",
    "Once upon a time",
    "--max-tokens",
    "200",
    "--gpu",
    "host",
    "--layers",
  ];
  const sampling = ["--temperature", "0.6", "--top-p", "0.9", "--seed", "1"];
  const child = spawn(process.execPath, [join(ROOT, "dist/coordinator/main.js"), ...generate, ...sampling], {
    stdio: "inherit",
  });
  // The terminal sends Ctrl-C to the child as well; it stops its stack and then ends.
  for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => child.kill(signal));
  return new Promise((resolve) => child.on("close", (code) => resolve(code ?? 1)));
});
