/** The report: what was measured, on what, and how to measure it again. */
import { formatBytes } from "../proto/units.js";
import type { Figure } from "./benchmark.js";
import type { Machine } from "./machine.js";

export interface Section {
  /** The command that repeats these figures. */
  command: string;
  figures: Figure[];
}

export interface Report {
  machine: Machine;
  /** What figures have to be read with, such as what a peer is. */
  remarks: string[];
  sections: Section[];
}

const COLUMNS = ["figure", "value", "unit", "middle half", "n", "command"];

/** Lines that say on what the figures were taken, and one table of them. */
export function reportText({ machine, remarks, sections }: Report): string {
  const rows = sections.flatMap(({ command, figures }) =>
    figures.map(({ name, value, unit, quartiles, count }) => [
      name,
      significant(value),
      unit,
      quartiles === null ? "" : quartiles.map(significant).join(" to "),
      String(count),
      command,
    ]),
  );
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, column) =>
        column === 1 ? cell.padStart(widths[1] ?? 0) : cell.padEnd(widths[column] ?? 0),
      )
      .join("  ")
      .trimEnd();
  return [...machineLines(machine), ...remarks, "", line(COLUMNS), ...rows.map(line)].join("\n");
}

function machineLines(machine: Machine): string[] {
  const rate = (bytesPerS: number) => `${(bytesPerS / 1e9).toFixed(1)} GB/s`;
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.instructionSet} kernels, ${formatBytes(machine.memoryBytes)}`,
    `memory read at ${rate(machine.oneCoreBytesPerS)} by one core, ${rate(machine.allCoresBytesPerS)} by all`,
    `${machine.kernel}, Node ${machine.node}, commit ${machine.commit ?? "unknown"}, load ${machine.loadBefore} before`,
  ];
}

/** Three digits, or all of those before the decimal point. */
function significant(value: number): string {
  const digits = value === 0 ? 1 : Math.floor(Math.log10(Math.abs(value))) + 1;
  return value.toFixed(Math.min(Math.max(3 - digits, 0), 3));
}
