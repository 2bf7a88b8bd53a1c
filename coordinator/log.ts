/** Logs: JSON lines for programs, short lines for people. */
import { type Logger, pino } from "pino";

/** Logs to stderr, as JSON lines unless a person looks at a terminal. */
export function createLog(name: string, level: string): Logger {
  const stderr = pino.destination({ fd: 2, sync: true });
  const destination = process.stderr.isTTY
    ? { write: (line: string) => void stderr.write(`${readable(line)}\n`) }
    : stderr;
  return pino({ name, level }, destination);
}

/** A JSON log line as people read it; any other line as it is. */
export function readable(line: string): string {
  const record = parseRecord(line);
  if (record === null) return line.trimEnd();
  const { level, time, msg, executor, reason, err } = record;
  const severity = typeof level === "number" && level > 30 ? `${pino.levels.labels[level] ?? level}: ` : "";
  const from = typeof executor === "string" ? `${executor}: ` : "";
  const why = typeof reason === "string" ? ` (${reason})` : "";
  const cause = isErrorRecord(err) ? `: ${err.message}` : "";
  const clock = typeof time === "number" ? `${new Date(time).toLocaleTimeString("sv")} ` : "";
  return `${clock}${severity}${from}${readable(String(msg ?? ""))}${why}${cause}`;
}

function parseRecord(line: string): Record<string, unknown> | null {
  if (!line.startsWith("{")) return null;
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return null;
  }
}

function isErrorRecord(value: unknown): value is { message: string } {
  return (
    typeof value === "object" && value !== null && "message" in value && typeof value.message === "string"
  );
}
