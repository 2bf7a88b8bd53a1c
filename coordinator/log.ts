/** Logs: JSON lines for programs, short lines for people. */
import { type Level, type Logger, pino } from "pino";

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
  const severity = level > 30 ? `${labelOf(level)}: ` : "";
  const from = typeof executor === "string" ? `${executor}: ` : "";
  const why = typeof reason === "string" ? ` (${reason})` : "";
  const cause = isErrorRecord(err) ? `: ${err.message}` : "";
  const clock = typeof time === "number" ? `${new Date(time).toLocaleTimeString("sv")} ` : "";
  return `${clock}${severity}${from}${msg}${why}${cause}`;
}

/** Logs a line of an executor process's own log at its own level, under the executor's name. */
export function relay(log: Logger, executor: string, line: string): void {
  const record = parseRecord(line);
  if (record === null) {
    // What is no log line is a process's last words, or the runtime's.
    if (line.trim() !== "") log.warn({ executor }, line.trimEnd());
    return;
  }
  const { level, time, pid, hostname, name, msg, ...fields } = record;
  log[labelOf(level)]({ ...fields, executor }, msg);
}

interface LogRecord extends Record<string, unknown> {
  level: number;
  msg: string;
}

function parseRecord(line: string): LogRecord | null {
  if (!line.startsWith("{")) return null;
  try {
    const record = JSON.parse(line) as Record<string, unknown>;
    const { level, msg } = record;
    return typeof level === "number" && typeof msg === "string" ? { ...record, level, msg } : null;
  } catch {
    return null;
  }
}

function labelOf(level: number): Level {
  return (pino.levels.labels[level] ?? "info") as Level;
}

function isErrorRecord(value: unknown): value is { message: string } {
  return (
    typeof value === "object" && value !== null && "message" in value && typeof value.message === "string"
  );
}
