/** `npm run bench`: the figures this project states, measured anew. */
import { Argument, Command } from "commander";
import { z } from "zod";
import { Interrupted, onceInterrupted } from "../coordinator/cli/signals.js";
import { bundledModelPath } from "../coordinator/model/bundled.js";
import { ThermoclineError } from "../proto/errors.js";
import type { Benchmark } from "./benchmark.js";
import { coordinatorTime } from "./coordinator-time.js";
import { decode } from "./decode.js";
import { handOver } from "./hand-over.js";
import { describeMachine } from "./machine.js";
import { createProgress } from "./progress.js";
import { quickstart } from "./quickstart.js";
import { type Report, reportText, type Section } from "./report.js";
import { tracing } from "./tracing.js";

const BENCHMARKS: Record<string, Benchmark> = {
  decode,
  "hand-over": handOver,
  coordinator: coordinatorTime,
  tracing,
  quickstart,
};

/** Above this, others take part of the cores that are measured. */
const QUIET_LOAD = 0.5;

const count = (option: string, least: number) => {
  const error = `${option} must be a whole number of at least ${least}`;
  return z.coerce.number({ error }).int({ error }).min(least, { error });
};
const schema = z.object({
  runs: count("--runs", 1),
  tokens: count("--tokens", 3),
  model: z.string().nullable().default(null),
  json: z.boolean().default(false),
});

const program = new Command("bench")
  .description("Measures what this project states about its speed, on this machine.")
  .addArgument(
    new Argument("[benchmark]", "what to measure")
      .choices([...Object.keys(BENCHMARKS), "all"])
      .default("all"),
  )
  .option("--runs <n>", "measured turns of each contender", "15")
  .option("--tokens <n>", "tokens generated in a turn", "400")
  .option("--model <file>", "GGUF or PWRI model (default: the bundled story model)")
  .option("--json", "prints the report as JSON")
  .action(bench);

async function bench(chosen: string, raw: unknown): Promise<void> {
  const parsed = schema.safeParse(raw);
  if (!parsed.success) {
    const problems = parsed.error.issues.map((issue) => issue.message).join("; ");
    throw new ThermoclineError("INVALID_ARGUMENT", problems);
  }
  const { runs, tokens, model, json } = parsed.data;
  const options = `--runs ${runs} --tokens ${tokens}${model === null ? "" : ` --model ${model}`}`;
  const modelPath = model ?? bundledModelPath();
  const progress = createProgress(process.stderr);
  const interrupted = onceInterrupted();
  const { signal } = interrupted;
  const sections: Section[] = [];
  progress.show("measuring the memory's bandwidth");
  const machine = await describeMachine();
  if (machine.loadBefore > QUIET_LOAD) {
    progress.note(
      `This machine is busy (load ${machine.loadBefore}), and that is part of every figure below.`,
    );
  }
  try {
    for (const [name, benchmark] of Object.entries(BENCHMARKS)) {
      if (chosen !== name && chosen !== "all") continue;
      signal.throwIfAborted();
      const figures = await benchmark({ runs, tokens, modelPath, machine, progress: progress.show, signal });
      sections.push({ command: `npm run bench -- ${name} ${options}`, figures });
    }
  } catch (error) {
    if (!isEndOf(signal, error)) throw error;
    process.exitCode = signal.reason instanceof Interrupted ? signal.reason.exitCode : 1;
  } finally {
    interrupted.release();
    progress.end();
    // Also what was measured before an interruption or a failure.
    if (sections.length > 0) process.stdout.write(`${formatReport({ machine, sections }, json)}\n`);
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
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof ThermoclineError)) throw error;
  process.stderr.write(`bench: ${error.message}\n`);
  process.exitCode = 1;
}
