/** `--log-level`, for commands that are coordinators. */
import { Option } from "commander";

const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "silent"];

export function logLevelOption(otherwise: string): Option {
  return new Option("--log-level <level>", "least level that is logged, as JSON lines on stderr")
    .choices(LOG_LEVELS)
    .env("THERMOCLINE_LOG_LEVEL")
    .default(otherwise);
}
