/** `npm run quickstart` as a newcomer meets it: in a fresh clone of the commit at hand, and then once more. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ThermoclineError } from "../proto/errors.js";
import { type Benchmark, type Figure, medianFigure } from "./benchmark.js";
import { watchMemory } from "./memory-watch.js";
import { isRunning, processTree } from "./process-tree.js";
import { git, ROOT } from "./repository.js";
import { distribution } from "./statistics.js";

const WARM_RUNS = 5;
const DEADLINE_MS = 15 * 60 * 1000;
/** From SIGINT to SIGKILL; quickstart stops its stack within 2 s. */
const STOP_GRACE_MS = 5_000;
const STOP_POLL_MS = 20;
/** Last lines of its output that explain a failure. */
const SHOWN_LINES = 20;

export const quickstart: Benchmark = async ({ progress, signal }) => {
  const folder = mkdtempSync(join(tmpdir(), "thermocline-bench-"));
  const stop = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  try {
    progress("quickstart: cloning");
    await git("clone", "--quiet", ROOT, folder);
    const cache = existsSync(join(homedir(), ".npm/_cacache")) ? "npm's cache there" : "npm's cache empty";
    progress("quickstart: cold");
    const cold = await runQuickstart(folder, stop);
    const warm: QuickstartRun[] = [];
    for (let run = 0; run < WARM_RUNS; run++) {
      progress(`quickstart: warm, ${run + 1} of ${WARM_RUNS}`);
      warm.push(await runQuickstart(folder, stop));
    }
    return [...coldFigures(`quickstart, cold (${cache})`, cold), ...warmFigures("quickstart, warm", warm)];
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

interface QuickstartRun {
  seconds: number;
  /** Of all its processes together. */
  peakBytes: number;
}

async function runQuickstart(folder: string, signal: AbortSignal): Promise<QuickstartRun> {
  signal.throwIfAborted();
  const { PATH = "", HOME = "" } = process.env;
  const start = performance.now();
  const child = spawn("npm", ["run", "quickstart"], {
    cwd: folder,
    env: { PATH, HOME },
    stdio: ["ignore", "pipe", "pipe"],
    // A process group of its own, which can be interrupted as a terminal does.
    detached: true,
  });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      lines.push(...text.split("\n"));
      lines.splice(0, lines.length - SHOWN_LINES);
    });
  }
  const ended = once(child, "close") as Promise<[number | null]>;
  const { pid } = child;
  if (pid === undefined) await ended;
  const watch = watchMemory(pid ?? 0);
  let interrupted = Promise.resolve();
  const onAbort = () => {
    interrupted = interrupt(pid ?? 0);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    const [code] = await ended;
    signal.throwIfAborted();
    if (code !== 0) {
      throw new ThermoclineError(
        "INTERNAL",
        `npm run quickstart ended with code ${code}:\n${lines.join("\n")}`,
      );
    }
    return { seconds: (performance.now() - start) / 1000, peakBytes: watch.stop() };
  } finally {
    signal.removeEventListener("abort", onAbort);
    watch.stop();
    await interrupted;
  }
}

/** Interrupts a process group, waits for all of its tree to end, and kills what has not after a while. */
async function interrupt(pid: number): Promise<void> {
  const tree = processTree(pid);
  process.kill(-pid, "SIGINT");
  const end = performance.now() + STOP_GRACE_MS;
  while (tree.some(isRunning)) {
    if (performance.now() > end) for (const member of tree.filter(isRunning)) process.kill(member, "SIGKILL");
    await delay(STOP_POLL_MS);
  }
}

function coldFigures(name: string, { seconds, peakBytes }: QuickstartRun): Figure[] {
  return [
    { name: `${name}, time`, value: seconds, unit: "s", quartiles: null, count: 1 },
    { name: `${name}, peak memory`, value: peakBytes / 1024 ** 2, unit: "MiB", quartiles: null, count: 1 },
  ];
}

function warmFigures(name: string, runs: readonly QuickstartRun[]): Figure[] {
  return [
    medianFigure(`${name}, time`, "s", distribution(runs.map(({ seconds }) => seconds))),
    medianFigure(
      `${name}, peak memory`,
      "MiB",
      distribution(runs.map(({ peakBytes }) => peakBytes / 1024 ** 2)),
    ),
  ];
}
