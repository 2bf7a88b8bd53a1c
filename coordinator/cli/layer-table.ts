/** The per-layer latency table that `generate --layers` prints. */
import type { LayerSummary } from "../../proto/gen/thermocline/v1/inference_pb.js";

const COLUMNS = [
  "layer",
  "attention",
  "predict",
  "hot",
  "cold",
  "wait",
  "merge",
  "total",
  "share",
  "active hot",
  "active cold",
];

/** Medians in microseconds over the request's decode steps; shares are of the sum over layers. */
export function layerTable(layers: readonly LayerSummary[]): string {
  if (layers.length === 0) return "no layer was timed: that takes a decode step, so at least two tokens";
  const sum = layers.reduce((total, layer) => total + layer.totalUs, 0);
  const rows = layers.map((layer) => [
    String(layer.layer),
    ...[
      layer.attentionUs,
      layer.predictUs,
      layer.hotUs,
      layer.coldUs,
      layer.waitUs,
      layer.mergeUs,
      layer.totalUs,
    ].map((us) => us.toFixed(1)),
    `${(sum === 0 ? 0 : (100 * layer.totalUs) / sum).toFixed(0)} %`,
    `${layer.activeHotNeurons.toFixed(0)} of ${layer.placedHotNeurons}`,
    `${layer.activeColdNeurons.toFixed(0)} of ${layer.placedColdNeurons}`,
  ]);
  const widths = COLUMNS.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]) =>
    cells.map((cell, column) => cell.padStart(widths[column] ?? 0)).join("  ");
  return ["median µs of a decode step", line(COLUMNS), ...rows.map(line)].join("\n");
}
