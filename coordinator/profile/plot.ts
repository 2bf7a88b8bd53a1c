/**
 * The picture of PowerInfer's paper (https://arxiv.org/abs/2312.12456, figure 5): the share of activations that the
 * hottest neurons carry, for every layer and for the whole model, as SVG.
 */
import type { ActivationProfile } from "./activation-profile.js";
import { type Curve, curveOf, HOT_SHARE, type ProfileSummary } from "./analysis.js";

const WIDTH = 720;
const HEIGHT = 560;
/** The square that curves are drawn in. */
const FRAME = { left: 76, top: 72, width: 616, height: 416 };
const TICKS = [0, 0.2, 0.4, 0.6, 0.8, 1];

const INK = "#1c2733";
const QUIET = "#5f6b76";
const GRID = "#e3e7ea";
const LAYER = "#3d87b8";
const WHOLE = "#0b3954";
const MARK = "#c8352b";
const FONT = "DejaVu Sans, Helvetica, Arial, sans-serif";

/** @param name the model's */
export function plotSvg(name: string, profile: ActivationProfile, summary: ProfileSummary): string {
  const { layers, ff } = profile.shape;
  const totals = profile.totals();
  const ofLayers = Array.from({ length: layers }, (_, layer) =>
    totals.subarray(layer * ff, (layer + 1) * ff),
  );
  // One faint line is to be seen, and eighty are not to be one surface.
  const opacity = Math.max(0.25, Math.min(0.6, 8 / layers)).toFixed(2);
  const faint = `stroke="${LAYER}" stroke-width="1.2" stroke-opacity="${opacity}"`;
  const bold = `stroke="${WHOLE}" stroke-width="3.2" stroke-linejoin="round"`;
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="${FONT}">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="#ffffff"/>`,
    text(FRAME.left, 32, xmlText(name), { size: 18, weight: "bold" }),
    text(FRAME.left, 54, xmlText(subtitle(profile)), { size: 13, fill: QUIET }),
    ...TICKS.flatMap(tick),
    text(FRAME.left + FRAME.width / 2, HEIGHT - 22, "share of neurons, hottest first", { anchor: "middle" }),
    `<g transform="translate(22 ${FRAME.top + FRAME.height / 2}) rotate(-90)">${text(0, 0, "share of activations", { anchor: "middle" })}</g>`,
    ...ofLayers
      .filter((counts) => counts.some((count) => count > 0))
      .map((counts) => path(curveOf(counts), faint)),
    ...mark(summary.hot),
    path(curveOf(totals), bold),
    `<circle cx="${x(summary.hot)}" cy="${y(HOT_SHARE)}" r="5" fill="${MARK}" stroke="#ffffff" stroke-width="1.5"/>`,
    ...legend(layers, bold, faint),
    "</svg>",
  ].join("\n")}\n`;
}

function subtitle({ tokens, shape: { layers, ff } }: ActivationProfile): string {
  const number = (value: number) => value.toLocaleString("en-US");
  return `${layers} layers of ${number(ff)} neurons, ${number(tokens)} tokens`;
}

function x(share: number): string {
  return (FRAME.left + share * FRAME.width).toFixed(1);
}

function y(share: number): string {
  return (FRAME.top + (1 - share) * FRAME.height).toFixed(1);
}

function line(x1: string, y1: string, x2: string, y2: string, style: string): string {
  return `<line x1="${x1}" y1="${y1}" x2="${x2}" y2="${y2}" ${style}/>`;
}

interface TextStyle {
  size?: number;
  fill?: string;
  weight?: string;
  anchor?: string;
}

function text(left: number | string, base: number | string, content: string, style: TextStyle = {}): string {
  const { size = 13, fill = INK, weight = "normal", anchor = "start" } = style;
  return `<text x="${left}" y="${base}" font-size="${size}" fill="${fill}" font-weight="${weight}" text-anchor="${anchor}">${content}</text>`;
}

function tick(share: number): string[] {
  const grid = `stroke="${share === 0 ? QUIET : GRID}" stroke-width="1"`;
  const label = `${Math.round(100 * share)} %`;
  const style = { size: 12, fill: QUIET };
  return [
    line(x(share), y(0), x(share), y(1), grid),
    line(x(0), y(share), x(1), y(share), grid),
    text(x(share), FRAME.top + FRAME.height + 20, label, { ...style, anchor: "middle" }),
    text(FRAME.left - 10, Number(y(share)) + 4, label, { ...style, anchor: "end" }),
  ];
}

function path({ neurons, activations }: Curve, style: string): string {
  const points = Array.from(neurons, (share, index) => `${x(share)},${y(activations[index] ?? 0)}`);
  return `<polyline points="${points.join(" ")}" fill="none" ${style}/>`;
}

/** Where the hot neurons end. */
function mark(hot: number): string[] {
  const dashed = `stroke="${MARK}" stroke-width="1.2" stroke-dasharray="5 4"`;
  // Beside the line, on the side that has room, and below the curve.
  const right = hot < 0.5;
  const left = Number(x(hot)) + (right ? 10 : -10);
  const label = `${percent(hot)} of the neurons carry ${percent(HOT_SHARE)}`;
  return [
    line(x(0), y(HOT_SHARE), x(hot), y(HOT_SHARE), dashed),
    line(x(hot), y(HOT_SHARE), x(hot), y(0), dashed),
    text(left, Number(y(0)) - 14, label, { fill: MARK, weight: "bold", anchor: right ? "start" : "end" }),
  ];
}

function percent(share: number): string {
  return `${Number((100 * share).toFixed(1))} %`;
}

function legend(layers: number, bold: string, faint: string): string[] {
  const left = FRAME.left + FRAME.width - 150;
  const row = (top: number, style: string, label: string) => [
    line(String(left), String(top), String(left + 28), String(top), style),
    text(left + 36, top + 4, label, { size: 12 }),
  ];
  const top = FRAME.top + FRAME.height - 96;
  return [
    `<rect x="${left - 12}" y="${top - 18}" width="162" height="56" rx="4" fill="#ffffff" fill-opacity="0.85"/>`,
    ...row(top, bold, "whole model"),
    ...row(top + 22, faint, layers === 1 ? "its layer" : `each of ${layers} layers`),
  ];
}

/** For XML. */
function xmlText(content: string): string {
  return (
    content
      .replaceAll("&", "&amp;")
      .replaceAll("<", "&lt;")
      .replaceAll(">", "&gt;")
      // Not allowed in XML, however they are written.
      .replaceAll(/\p{Cc}/gu, "\ufffd")
  );
}
