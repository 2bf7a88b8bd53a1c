/** Owns the process of otlp-sink.ts. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { SinkTally } from "./otlp-sink.js";

const READY_MS = 10_000;
const STOP_MS = 2_000;

export interface SinkProcess {
  /** For `--otlp-endpoint`. */
  url: string;
  /** Ends it. @returns what it took */
  stop(): Promise<SinkTally>;
}

export async function startSink(): Promise<SinkProcess> {
  const child = spawn(process.execPath, [fileURLToPath(new URL("./otlp-sink.js", import.meta.url))], {
    // A session of its own, so that Ctrl-C lets the stack send what it has left.
    stdio: ["pipe", "pipe", "inherit"],
    detached: true,
  });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const exited = once(child, "exit");
  const killAfter = (ms: number) => setTimeout(() => child.kill("SIGKILL"), ms);
  const nextLine = async (ms: number) => {
    const killer = killAfter(ms);
    try {
      const { value, done } = await lines.next();
      if (done) throw new Error("the OTLP sink ended before its time; its own words are above");
      return value;
    } finally {
      clearTimeout(killer);
    }
  };
  const url = await nextLine(READY_MS);
  return {
    url,
    async stop() {
      child.stdin.end();
      const tally = JSON.parse(await nextLine(STOP_MS)) as SinkTally;
      const killer = killAfter(STOP_MS);
      await exited;
      clearTimeout(killer);
      return tally;
    },
  };
}
