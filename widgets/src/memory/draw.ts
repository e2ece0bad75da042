// Stacked bytes over time; peaks survive any zoom because each pixel shows its largest moment.
import * as format from "../shared/format.ts";
import { peaksPerPixel } from "../shared/pyramid.ts";
import { type Axis, ticks, toPixel } from "../shared/scale.ts";
import { kCategoryColor, mix, type Theme } from "../shared/theme.ts";
import type { Series } from "./series.ts";

export const kLeft = 64;
const kTop = 14;
const kBottom = 22;

const kColorOf: Record<string, number> = {
  temporary: 0,
  parameter: 1,
  gradient: 2,
  "optimizer state": 3,
  activation: 4,
  "input data": 5,
  arena: 6,
  output: 7,
};

export function categoryColor(name: string): string {
  return kCategoryColor[kColorOf[name] ?? 0];
}

/** Stacking order: what stays longest lies at the bottom. */
export function stackOrder(names: string[]): number[] {
  const rank = [
    "before the recording",
    "parameter",
    "optimizer state",
    "input data",
    "gradient",
    "output",
    "activation",
    "arena",
    "temporary",
  ];
  return names.map((_, i) => i).sort((a, b) => rank.indexOf(names[a]) - rank.indexOf(names[b]));
}

export interface MemoryDraw {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  theme: Theme;
  series: Series;
  axis: Axis;
  predicted: { t0: number; t1: number; bytes: number }[];
  top: number;
  cursor: number | null;
  pinned: number | null;
}

export function plotHeight(height: number): number {
  return height - kTop - kBottom;
}

export function yOf(bytes: number, top: number, height: number): number {
  return kTop + plotHeight(height) * (1 - bytes / (top || 1));
}

function grid(input: MemoryDraw): void {
  const { context, theme, axis, top, width, height } = input;
  context.font = `10px ${theme.font}`;
  context.textBaseline = "middle";
  context.textAlign = "right";
  for (const tick of ticks(0, top, Math.max(2, Math.floor(height / 45)))) {
    const y = Math.round(yOf(tick, top, height));
    context.fillStyle = mix(theme.border, theme.background, 0.6);
    context.fillRect(kLeft, y, width - kLeft, 1);
    context.fillStyle = theme.dim;
    context.fillText(format.bytes(tick), kLeft - 6, y);
  }
  context.textAlign = "center";
  for (const tick of ticks(axis.from, axis.to, Math.max(2, Math.floor(axis.pixels / 90)))) {
    const x = kLeft + toPixel(axis, tick);
    context.fillStyle = theme.border;
    context.fillRect(Math.round(x), height - kBottom, 1, 4);
    context.fillStyle = theme.dim;
    if (x > kLeft + 16 && x < width - 20) context.fillText(format.time(tick), x, height - 9);
  }
}

/** Hatching tells neighbouring bands apart without colour. */
function pattern(
  context: CanvasRenderingContext2D,
  color: string,
  theme: Theme,
  style: number,
): CanvasPattern | string {
  const fill = theme.forced ? theme.background : mix(color, theme.background, 0.62);
  if (style % 4 === 0 && !theme.forced) return fill;
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const pen = tile.getContext("2d");
  if (!pen) return fill;
  pen.fillStyle = fill;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = theme.forced ? theme.text : mix(color, theme.text, 0.75);
  pen.lineWidth = 1;
  pen.beginPath();
  const stroke = (x0: number, y0: number, x1: number, y1: number) => {
    pen.moveTo(x0, y0);
    pen.lineTo(x1, y1);
  };
  if (style % 4 === 1) for (const k of [-8, 0, 8]) stroke(k, 8, k + 8, 0);
  if (style % 4 === 2) for (const k of [-8, 0, 8]) stroke(k, 0, k + 8, 8);
  if (style % 4 === 3) for (const k of [2, 6]) stroke(k, 2, k + 1, 3);
  if (theme.forced && style % 4 === 0) stroke(0, 4, 8, 4);
  pen.stroke();
  return context.createPattern(tile, "repeat") ?? fill;
}

function bands(input: MemoryDraw, rows: Int32Array): void {
  const { context, theme, series, top, height } = input;
  const base = new Float64Array(rows.length);
  for (const c of stackOrder(series.names)) {
    const column = series.columns[c];
    const upper = new Float64Array(rows.length);
    for (let x = 0; x < rows.length; x++) upper[x] = base[x] + (rows[x] < 0 ? 0 : column[rows[x]]);
    context.beginPath();
    for (let x = 0; x < rows.length; x++) {
      const y = yOf(upper[x], top, height);
      context.lineTo(kLeft + x, y);
      context.lineTo(kLeft + x + 1, y);
    }
    for (let x = rows.length - 1; x >= 0; x--) {
      const y = yOf(base[x], top, height);
      context.lineTo(kLeft + x + 1, y);
      context.lineTo(kLeft + x, y);
    }
    context.closePath();
    const color = categoryColor(series.names[c]);
    context.fillStyle = pattern(context, color, theme, patternOf(series.names[c]));
    context.fill();
    context.strokeStyle = theme.forced ? theme.text : mix(color, theme.text, 0.7);
    context.lineWidth = 0.8;
    context.beginPath();
    for (let x = 0; x < rows.length; x++) {
      const y = yOf(upper[x], top, height);
      context.lineTo(kLeft + x, y);
      context.lineTo(kLeft + x + 1, y);
    }
    context.stroke();
    base.set(upper);
  }
}

export function patternOf(name: string): number {
  return (
    {
      parameter: 0,
      gradient: 1,
      "optimizer state": 2,
      activation: 0,
      "input data": 3,
      arena: 1,
      output: 2,
    }[name] ?? 0
  );
}

export function drawMemory(input: MemoryDraw): void {
  const { context, theme, series, axis, top, width, height } = input;
  grid(input);
  const pixels = Math.max(1, Math.floor(axis.pixels));
  const rows = peaksPerPixel(series.t, series.total, series.length, axis.from, axis.to, pixels);
  context.save();
  context.beginPath();
  context.rect(kLeft, 0, axis.pixels, height - kBottom + 1);
  context.clip();
  bands(input, rows);
  context.lineWidth = 2;
  context.strokeStyle = theme.warn;
  context.setLineDash([3, 3]);
  context.beginPath();
  for (const span of input.predicted) {
    const y = yOf(span.bytes, top, height);
    context.moveTo(kLeft + toPixel(axis, span.t0), y);
    context.lineTo(Math.max(kLeft + toPixel(axis, span.t1), kLeft + toPixel(axis, span.t0) + 2), y);
  }
  context.stroke();
  context.setLineDash([]);
  const peakY = yOf(series.peak.bytes, top, height);
  context.strokeStyle = theme.text;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(kLeft, peakY);
  context.lineTo(width, peakY);
  context.stroke();
  const peakX = kLeft + toPixel(axis, series.peak.t);
  context.fillStyle = theme.text;
  context.beginPath();
  context.moveTo(peakX, peakY);
  context.lineTo(peakX - 5, peakY - 8);
  context.lineTo(peakX + 5, peakY - 8);
  context.fill();
  for (const [t, wide] of [
    [input.cursor, 1],
    [input.pinned, 2],
  ] as const) {
    if (t === null) continue;
    context.fillStyle = theme.accent;
    context.fillRect(Math.round(kLeft + toPixel(axis, t)), kTop, wide, plotHeight(height));
  }
  context.restore();
}
