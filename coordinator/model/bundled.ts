/** The small model that comes with the package. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ThermoclineError } from "../../proto/errors.js";

const BUNDLED = "models/stories-3.5m-relu.f16.gguf";

/** @throws ThermoclineError NOT_FOUND when the package was installed without its models */
export function bundledModelPath(): string {
  const here = dirname(fileURLToPath(import.meta.url));
  for (let folder = here; folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, BUNDLED);
    if (existsSync(file)) return file;
  }
  throw new ThermoclineError(
    "NOT_FOUND",
    `the bundled model ${BUNDLED} is missing; name a model with --model FILE`,
  );
}
