/** Looks for a card that a device library can use, without risking this process. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { CardInfo } from "./index.js";
import { type CardDevice, cardLibrary } from "./libraries.js";

/** A driver that has to load its firmware takes seconds. */
const TIMEOUT_MS = 30_000;
const PROBE = fileURLToPath(new URL("./probe-card.js", import.meta.url));

const UNBUILT: Record<CardDevice, string> = {
  cuda: "this build has no CUDA device, which THERMOCLINE_CUDA=on npm run setup adds where nvcc is",
  emulated: "this build has no emulated device, which npm run setup adds",
};

export type FoundCard =
  | { kind: "card"; card: CardInfo; library: string }
  /** `problem` is a clause that says what is missing. */
  | { kind: "none"; problem: string };

export async function findCard(
  device: CardDevice,
  library: string | null = cardLibrary(device),
  probe: string = PROBE,
): Promise<FoundCard> {
  if (library === null) return { kind: "none", problem: UNBUILT[device] };
  return new Promise((resolve) => {
    // It runs no kernel, and need not load any.
    const env = { ...process.env, CUDA_MODULE_LOADING: "LAZY" };
    execFile(process.execPath, [probe, library], { env, timeout: TIMEOUT_MS }, (error, stdout, stderr) => {
      const answer = parse(stdout);
      if (answer !== null && "card" in answer) return resolve({ kind: "card", card: answer.card, library });
      if (answer !== null) return resolve({ kind: "none", problem: answer.problem });
      const how =
        error === null
          ? "without an answer"
          : `with ${error.signal ?? `code ${error.code}`}: ${stderr.trim().split("\n").at(-1) ?? ""}`;
      resolve({ kind: "none", problem: `the process that asked the driver ended ${how}` });
    });
  });
}

function parse(text: string): { card: CardInfo } | { problem: string } | null {
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer !== "object" || answer === null) return null;
    if ("card" in answer) return answer as { card: CardInfo };
    return "problem" in answer ? { problem: String(answer.problem) } : null;
  } catch {
    return null;
  }
}
