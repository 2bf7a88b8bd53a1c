/** `npm run bench`: the figures this project states, measured anew. */
import { Interrupted, onceInterrupted } from "../coordinator/cli/signals.js";
import { bundledModelPath } from "../coordinator/model/bundled.js";
import { allowedCpus } from "../native/cpus.js";
import { ThermoclineError } from "../proto/errors.js";
import type { Benchmark, BenchmarkContext } from "./benchmark.js";
import { coordinatorTime } from "./coordinator-time.js";
import { decode } from "./decode.js";
import { handOver } from "./hand-over.js";
import { live } from "./live.js";
import { requireCudaBuild } from "./llama-cpp-cuda.js";
import { load } from "./load.js";
import { describeMachine, readBytesPerS } from "./machine.js";
import { neighbour } from "./neighbour.js";
import { type BenchOptions, benchCommand, isOnCard, repeatingCommand } from "./options.js";
import { choosePeerModel } from "./peer-model.js";
import { prefill } from "./prefill.js";
import { createProgress } from "./progress.js";
import { quickstart } from "./quickstart.js";
import { type Report, reportText, type Section } from "./report.js";
import { tracing } from "./tracing.js";

const BENCHMARKS: Record<string, Benchmark> = {
  decode,
  prefill,
  neighbour,
  load,
  "hand-over": handOver,
  coordinator: coordinatorTime,
  tracing,
  live,
  quickstart,
};

/** Above this, others take part of the cores that are measured. */
const QUIET_LOAD = 0.5;

async function bench(chosen: string, options: BenchOptions): Promise<void> {
  const { runs, tokens, promptTokens, model, predictor, json } = options;
  const modelPath = model ?? bundledModelPath();
  if (isOnCard(options)) requireCudaBuild();
  const peer = options.peer === null ? null : await choosePeerModel(modelPath, options.peerModel);
  const threads = options.threads ?? allowedCpus().length;
  const progress = createProgress(process.stderr);
  const interrupted = onceInterrupted();
  const { signal } = interrupted;
  const sections: Section[] = [];
  const remarks = new Set<string>();
  progress.show("measuring the memory's bandwidth");
  const machine = await describeMachine();
  const context: BenchmarkContext = {
    runs,
    tokens,
    promptTokens,
    modelPath,
    predictor,
    devices: options.gpu,
    vramBudgetBytes: options.vramBudget,
    threads,
    peer,
    peerGpuLayers: options.peerGpuLayers,
    readBytesPerS: await readBytesPerS(machine, threads),
    progress: progress.show,
    remark: (text) => remarks.add(text),
    signal,
  };
  if (machine.loadBefore > QUIET_LOAD) {
    progress.note(
      `This machine is busy (load ${machine.loadBefore}), and that is part of every figure below.`,
    );
  }
  try {
    for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
      if (chosen !== name && chosen !== "all") continue;
      signal.throwIfAborted();
      const figures = await benchmark(context);
      sections.push({ command: repeatingCommand(name, options), figures });
    }
  } catch (error) {
    if (!isEndOf(signal, error)) throw error;
    process.exitCode = signal.reason instanceof Interrupted ? signal.reason.exitCode : 1;
  } finally {
    interrupted.release();
    progress.end();
    // Also what was measured before an interruption or a failure.
    if (sections.length > 0)
      process.stdout.write(`${formatReport({ machine, remarks: [...remarks], sections }, json)}\n`);
  }
}

/** Whether an error only says that the work was given up for the signal. */
function isEndOf({ aborted, reason }: AbortSignal, error: unknown): boolean {
  if (!aborted || !(error instanceof Error)) return false;
  const cancelled = error instanceof ThermoclineError && error.code === "CANCELLED";
  return cancelled || error === reason || error.name === "AbortError";
}

function formatReport(report: Report, json: boolean): string {
  return json ? JSON.stringify(report, null, 2) : reportText(report);
}

try {
  await benchCommand(Object.keys(BENCHMARKS), bench).parseAsync();
} catch (error) {
  if (!(error instanceof ThermoclineError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
}
