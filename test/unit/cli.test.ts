/** Commands in this process, as far as they go without starting anything. */
import type { Command } from "commander";
import { afterEach, describe, expect, test, vi } from "vitest";
import { convertCommand } from "../../coordinator/cli/convert.js";
import { doctorCommand } from "../../coordinator/cli/doctor.js";
import { generateCommand } from "../../coordinator/cli/generate.js";
import { inspectCommand } from "../../coordinator/cli/inspect.js";
import { perplexityCommand } from "../../coordinator/cli/perplexity.js";
import { serveCommand } from "../../coordinator/cli/serve.js";
import { Interrupted, onceInterrupted } from "../../coordinator/cli/signals.js";
import { synthCommand } from "../../coordinator/cli/synth.js";

/** Runs a command; what commander itself refuses is thrown like any other error. */
async function run(command: Command, args: readonly string[]): Promise<void> {
  command.exitOverride().configureOutput({ writeErr: () => undefined });
  await command.parseAsync(args, { from: "user" });
}

describe("generate refuses", () => {
  test.each<[string[], RegExp]>([
    [[], /required option '--prompt <text>' not specified/],
    [
      ["--prompt", "a", "--gpu", "metal"],
      /'metal' is invalid. Allowed choices are auto, cuda, emulated, host, off/,
    ],
    [
      ["--prompt", "a", "--max-tokens", "0"],
      /^--max-tokens is "0"; give a whole number from 1 to 4294967295$/,
    ],
    [["--prompt", ""], /^--prompt is empty; give a text to continue$/],
    [["--prompt", "a", "--temperature", "-1"], /^--temperature is "-1"; give a number from 0 to 100$/],
    [["--prompt", "a", "--top-k", "1.5"], /^--top-k is "1.5"; give a whole number from 0/],
    [["--prompt", "a", "--top-p", "0"], /^--top-p is "0"; give a number above 0 and at most 1$/],
    [["--prompt", "a", "--min-p", "2"], /^--min-p is "2"; give a number from 0 to 1$/],
    [
      ["--prompt", "a", "--repeat-penalty", "0"],
      /^--repeat-penalty is "0"; give a number above 0 and at most 10$/,
    ],
    [["--prompt", "a", "--seed", "x"], /^--seed is "x"; give a whole number from 0 to 2\^64 - 1$/],
    [["--prompt", "a", "--slots", "0"], /^--slots is "0"; give a whole number from 1 to 256$/],
    [["--prompt", "a", "--server", "here"], /^--server is "here"; give unix:\/path\/to\/socket or host:port/],
    [
      ["--prompt", "a", "--server", "127.0.0.1:1", "--model", "a.gguf"],
      /^--model is for a stack of this call's own, and --server names a running one; leave one of them out$/,
    ],
  ])("%j", async (args, message) => {
    await expect(run(generateCommand(), args)).rejects.toThrow(message);
  });
});

describe("perplexity refuses", () => {
  test.each<[string[], RegExp]>([
    [[], /required option '--text <file>' not specified/],
    [["--text", ""], /^--text is empty; give the path of a text file$/],
    [["--text", "a", "--ctx", "2"], /^--ctx is "2"; give a whole number from 3 to 1048576$/],
    [["--text", "a", "--chunks", "0"], /^--chunks is "0"; give a whole number from 1 to 1073741824$/],
    [["--text", "a", "--predictor", "perhaps"], /^--predictor is "perhaps"; give auto, on, off, or a number/],
    [["--text", "a", "--log-level", "loud"], /Allowed choices are trace, debug/],
    [["--text", "a", "--slots", "2"], /unknown option '--slots'/],
    [["--text", "a", "--gpu", "off", "--vram-budget", "0"], /^--vram-budget is "0"; give at least one byte/],
  ])("%j", async (args, message) => {
    await expect(run(perplexityCommand(), args)).rejects.toThrow(message);
  });
});

describe("serve refuses", () => {
  test.each<[string[], RegExp]>([
    [["--listen", "nonsense"], /^--listen is "nonsense"; give unix:\/path\/to\/socket or host:port/],
    [["--listen", "127.0.0.1:65536"], /^--listen is "127.0.0.1:65536"/],
    [
      ["--executor", "unix:/a", "--gpu", "host"],
      /'--executor <address...>' cannot be used with option '--gpu/,
    ],
    [["--executor", "unix:/a", "--threads", "2"], /cannot be used with option '--threads/],
    [["--log-level", "loud"], /Allowed choices are trace, debug/],
    [["--threads", "many"], /^--threads is "many"/],
  ])("%j", async (args, message) => {
    await expect(run(serveCommand(), args)).rejects.toThrow(message);
  });
});

describe("synth refuses", () => {
  test.each<[string[], RegExp]>([
    [[], /missing required argument 'out'/],
    [["a.gguf", "--preset", "llama-8b"], /'llama-8b' is invalid. Allowed choices are tiny, tinyllama-1.1b/],
    [["a.gguf", "--sparsity", "1"], /^--sparsity is "1"; give a number from 0.01 to 0.999$/],
    [["a.gguf", "--layers", "0"], /^--layers is "0"; give a whole number from 1/],
    [["a.gguf", "--type", "q3_k"], /'q3_k' is invalid/],
    [["a.gguf", "--embd", "100"], /^--embd is 100; give a multiple of 32$/],
    [["a.pwri", "--activation", "silu"], /^--format pwri implies ReLU/],
  ])("%j", async (args, message) => {
    await expect(run(synthCommand(), args)).rejects.toThrow(message);
  });
});

test.each([
  serveCommand,
  generateCommand,
  perplexityCommand,
  convertCommand,
  synthCommand,
  inspectCommand,
  doctorCommand,
])("%o has examples in its help", (make) => {
  let help = "";
  const command = make().configureOutput({
    writeOut: (text) => {
      help += text;
    },
  });
  command.outputHelp();
  expect(help).toMatch(/\nExamples?:\n {2}thermocline /);
});

describe("signals", () => {
  afterEach(() => vi.useRealTimers());

  test.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const)("%s aborts with the exit code %d", (signal, exitCode) => {
    const interruption = onceInterrupted();
    process.emit(signal, signal);
    expect(interruption.signal.reason).toBeInstanceOf(Interrupted);
    expect(interruption.signal.reason).toMatchObject({ exitCode });
    interruption.release();
  });

  test("repeated at once they are one; later ones have their usual effect again", () => {
    vi.useFakeTimers();
    const before = process.listenerCount("SIGINT");
    const interruption = onceInterrupted();
    process.emit("SIGINT", "SIGINT");
    vi.advanceTimersByTime(500);
    process.emit("SIGINT", "SIGINT");
    expect(process.listenerCount("SIGINT")).toBe(before + 1);
    vi.advanceTimersByTime(1000);
    expect(process.listenerCount("SIGINT")).toBe(before);
    interruption.release();
    expect(process.listenerCount("SIGINT")).toBe(before);
  });
});
