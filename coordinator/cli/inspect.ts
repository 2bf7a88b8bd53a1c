/** `thermocline inspect`: what is in a GGUF or PWRI file, and whether it can be run here. */
import { resolve } from "node:path";
import { Command } from "commander";
import { formatBytes } from "../../proto/units.js";
import { readGguf } from "../model/gguf.js";
import { abbreviate } from "../model/gguf-metadata.js";
import {
  type InspectReport,
  inspectFile,
  type ReportedTensor,
  type ReportedValue,
} from "./inspect-report.js";

export function inspectCommand(): Command {
  return new Command("inspect")
    .description("Shows what is in a GGUF or PowerInfer (PWRI) file, and whether it can be run here.")
    .argument("<file>", "the model file")
    .option("--json", "prints JSON")
    .addHelpText("after", "\nExample:\n  thermocline inspect model.gguf")
    .action(async (file: string, options: { json?: true }) => {
      const report = inspectFile(await readGguf(resolve(file)));
      process.stdout.write(
        options.json === true ? `${JSON.stringify(report, null, 2)}\n` : renderReport(report),
      );
    });
}

/** The report for people. */
export function renderReport(report: InspectReport): string {
  return [
    report.path,
    ...table(overview(report)),
    "",
    `metadata, ${Object.keys(report.metadata).length} keys`,
    ...table(Object.entries(report.metadata).map(([key, value]) => [key, typeName(value), shown(value)])),
    "",
    `tensors, ${report.tensors.length} in ${formatBytes(report.tensorBytes)}`,
    ...tensorTable(report.tensors),
    "",
  ].join("\n");
}

function overview(report: InspectReport): string[][] {
  const { format, version, model, activation } = report;
  const rows = [
    ["format", `${format === "gguf" ? "GGUF" : "PowerInfer's PWRI"}, version ${version}`],
    [
      "size",
      `${formatBytes(report.fileBytes)}, tensors from byte ${report.dataOffset} on multiples of ${report.alignment}`,
    ],
    ["name", report.name === "" ? "(none)" : abbreviate(report.name)],
    ["architecture", report.architecture === "" ? "(none)" : abbreviate(report.architecture)],
  ];
  if (report.synthetic) rows.push(["synthetic", "yes: its weights are random, its text means nothing"]);
  if (activation !== null) {
    const { reason, reluThreshold } = activation;
    const threshold = reluThreshold > 0 ? `, threshold ${scalarText("float32", reluThreshold)}` : "";
    rows.push(["activation", `${activation.activation}${threshold}: ${reason}`]);
  }
  if (model !== null) {
    const { layers, embd, heads, headDim, kvHeads, ff, vocab } = model.shape;
    rows.push(
      ["parameters", model.parameters.toLocaleString("en-US")],
      ["shape", `${layers} layers of ${ff} neurons, width ${embd}, vocabulary ${vocab}`],
      ["attention", `${heads} heads of ${headDim} elements over ${kvHeads} key/value heads`],
      ["context", `${model.trainedContextLength} tokens`],
      ["predictor", model.hasPredictor ? `yes, threshold ${model.shape.predictorThreshold}` : "none"],
      ["down-projection", model.downTransposed ? "one row a neuron" : "one column a neuron"],
    );
  }
  const types = report.types.map(({ type, bytes, tensors }) => `${type} ${formatBytes(bytes)} (${tensors})`);
  rows.push(["types", types.length === 0 ? "(no tensors)" : types.join(", ")]);
  rows.push(["runs here", report.whyNot === null ? "yes" : `no: ${report.whyNot}`]);
  return rows;
}

function typeName(value: ReportedValue): string {
  return value.type === "array" ? `${value.of}[${value.length}]` : value.type;
}

function shown(value: ReportedValue): string {
  if (value.type !== "array") return scalarText(value.type, value.value);
  const first = value.first.map((element) => {
    if (typeof element === "object") return `${element.of}[${element.length}]`;
    // Vocabularies are full of spaces.
    return typeof element === "string" ? `"${abbreviate(element)}"` : scalarText(value.of, element);
  });
  return [...first, ...(value.length > first.length ? ["…"] : [])].join(" ");
}

function scalarText(type: string, value: string | number | boolean): string {
  // A float32 has seven digits worth showing.
  const shortened = type === "float32" ? Number(Number(value).toPrecision(7)) : value;
  return abbreviate(String(shortened));
}

interface Group {
  /** Layers that hold the same tensors; empty for those outside the layers. */
  layers: number[];
  /** Of the first of these layers. */
  tensors: ReportedTensor[];
}

function tensorTable(tensors: readonly ReportedTensor[]): string[] {
  return groupsOf(tensors).flatMap(({ layers, tensors: members }) => {
    const bytes = formatBytes(members.reduce((sum, tensor) => sum + tensor.bytes, 0));
    const rows = members.map((tensor) => [
      ` ${abbreviate(tensor.name)}`,
      tensor.type,
      tensor.dims.join(" x "),
      formatBytes(tensor.bytes),
    ]);
    return [` ${title(layers)}, ${bytes}${layers.length > 1 ? " each" : ""}`, ...table(rows)];
  });
}

function groupsOf(tensors: readonly ReportedTensor[]): Group[] {
  const byLayer = new Map<number | null, ReportedTensor[]>();
  for (const tensor of tensors) byLayer.set(tensor.layer, [...(byLayer.get(tensor.layer) ?? []), tensor]);
  const groups: Group[] = [];
  for (const [layer, members] of byLayer) {
    const alike =
      layer === null
        ? undefined
        : groups.find((group) => group.layers.length > 0 && sameTensors(group.tensors, members));
    if (alike !== undefined && layer !== null) alike.layers.push(layer);
    else groups.push({ layers: layer === null ? [] : [layer], tensors: members });
  }
  return groups;
}

function sameTensors(a: readonly ReportedTensor[], b: readonly ReportedTensor[]): boolean {
  const signature = (tensors: readonly ReportedTensor[]) =>
    tensors
      .map(({ name, type, dims }) => `${name.replace(/^blk\.\d+\./, "")} ${type} ${dims.join()}`)
      .join("\n");
  return signature(a) === signature(b);
}

function title(layers: readonly number[]): string {
  const [first, last] = [layers[0], layers.at(-1)];
  if (first === undefined || last === undefined) return "outside the layers";
  if (layers.length === 1) return `layer ${first}`;
  return last - first + 1 === layers.length ? `layers ${first} to ${last}` : `layers ${layers.join(", ")}`;
}

/** Lines of columns as wide as their widest cell. */
function table(rows: readonly string[][]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return rows.map((row) =>
    `  ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}`.trimEnd(),
  );
}
