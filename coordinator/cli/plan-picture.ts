/** A placement drawn as SVG: for each layer, where its attention is, its hot neurons, and its predicted time. */
import type { PlanReport } from "../plan.js";

const ROW = 14;
const LEFT = 48;
const TOP = 56;
const ATTENTION = 60;
const NEURONS = 300;
const TIME = 300;
const GAP = 16;
const COLORS = { gpu: "#d9542b", cpu: "#2b6cd9", other: "#9a9a9a" };

export function picture({ model, placed }: PlanReport): string {
  const { layers, totalS } = placed.prediction;
  const longest = Math.max(...layers.map((layer) => layer.totalS));
  const height = TOP + layers.length * ROW + 20;
  const neuronsAt = LEFT + ATTENTION + GAP;
  const timeAt = neuronsAt + NEURONS + GAP;
  const width = timeAt + TIME + GAP;
  const rect = (x: number, y: number, w: number, fill: string) =>
    w <= 0
      ? ""
      : `<rect x="${x.toFixed(1)}" y="${y}" width="${w.toFixed(1)}" height="${ROW - 3}" fill="${fill}"/>`;
  const text = (x: number, y: number, value: string, anchor = "start") =>
    `<text x="${x}" y="${y}" text-anchor="${anchor}">${escaped(value)}</text>`;
  const rows = layers.flatMap((layer, index) => {
    const y = TOP + index * ROW;
    const hot = (layer.hotNeurons / model.shape.ff) * NEURONS;
    const scale = TIME / longest;
    const own = layer.ownerS * scale;
    const halves = (layer.totalS - layer.ownerS - layer.handOverS - layer.residualS) * scale;
    const slower = layer.hotS > layer.coldS ? COLORS.gpu : COLORS.cpu;
    return [
      text(LEFT - 6, y + ROW - 4, String(index), "end"),
      rect(LEFT, y, ATTENTION, COLORS[layer.owner]),
      rect(neuronsAt, y, hot, COLORS.gpu),
      rect(neuronsAt + hot, y, NEURONS - hot, COLORS.cpu),
      rect(timeAt, y, own, COLORS[layer.owner]),
      rect(timeAt + own, y, halves, slower),
      rect(timeAt + own + halves, y, (layer.handOverS + layer.residualS) * scale, COLORS.other),
    ];
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="10">`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    text(
      LEFT,
      18,
      `${model.name}: ${(1 / totalS).toFixed(1)} tokens/s predicted. GPU executor red, CPU executors blue, hand-over grey`,
    ),
    text(LEFT, TOP - 8, "attention"),
    text(neuronsAt, TOP - 8, "neurons"),
    text(timeAt, TOP - 8, `predicted time, longest ${(longest * 1e6).toFixed(0)} µs`),
    ...rows.filter((row) => row !== ""),
    "</svg>\n",
  ].join("\n");
}

function escaped(value: string): string {
  return value.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
