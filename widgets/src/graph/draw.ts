// Draws a scene: only what is in sight, and less of it the farther away.
import * as format from "../shared/format.ts";
import type { PlanIndex } from "../shared/plan.ts";
import {
  heat,
  kCategoryColor,
  kCategoryGlyph,
  kKindColor,
  kKindGlyph,
  mix,
  type Theme,
} from "../shared/theme.ts";
import type { SceneIndex } from "./pick.ts";
import type { Box, Line, Scene } from "./scene.ts";

export type Coloring = "kind" | "category" | "bytes";

export interface Camera {
  x: number;
  y: number;
  k: number;
}

export interface Marks {
  /** Item ids. */
  focus: number;
  selected: ReadonlySet<number>;
  found: ReadonlySet<number>;
  /** Same source line in the other direction of the network. */
  paired: ReadonlySet<number>;
  /** Position in scene.lines, or -1. */
  line: number;
  hoverItem: number;
  hoverLine: number;
}

export interface DrawInput {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  theme: Theme;
  scene: Scene;
  picks: SceneIndex;
  camera: Camera;
  marks: Marks;
  coloring: Coloring;
  index: PlanIndex;
  maxBytes: number;
}

const kTextZoom = 0.42;
const kDetailZoom = 0.7;

export function colorOf(box: Box, input: Pick<DrawInput, "coloring" | "maxBytes">): string {
  const { item } = box;
  if (input.coloring === "bytes") {
    return heat(Math.log1p(item.bytes) / Math.log1p(Math.max(1, input.maxBytes)));
  }
  if (input.coloring === "category") {
    return kCategoryColor[item.category] ?? kCategoryColor[0];
  }
  return kKindColor[item.kind] ?? kKindColor.module;
}

/** What stands before a title; leaves say what they are for whatever the colours mean. */
export function glyphOf(box: Box, coloring: Coloring): string {
  const { item } = box;
  const told = coloring === "category" || (item.kind === "leaf" && item.category > 0);
  return (told ? kCategoryGlyph[item.category] : kKindGlyph[item.kind]) ?? "·";
}

function trace(context: CanvasRenderingContext2D, points: ArrayLike<number>): void {
  context.moveTo(points[0], points[1]);
  for (let i = 2; i < points.length; i += 2) {
    const [x0, y0, x1, y1] = [points[i - 2], points[i - 1], points[i], points[i + 1]];
    const bend = (y1 - y0) / 2;
    context.bezierCurveTo(x0, y0 + bend, x1, y1 - bend, x1, y1);
  }
}

function arrow(context: CanvasRenderingContext2D, line: Line): void {
  const { points } = line;
  const [x, y] = [points[points.length - 2], points[points.length - 1]];
  const up = points[points.length - 3] > y;
  const size = up ? -5 : 5;
  context.moveTo(x, y);
  context.lineTo(x - 3.5, y - size * 1.3);
  context.lineTo(x + 3.5, y - size * 1.3);
  context.closePath();
}

function drawLines(input: DrawInput, visible: number[]): void {
  const { context, theme, scene, camera, marks } = input;
  const fine = camera.k > 0.25;
  const fused: Line[] = [];
  const apart: Line[] = [];
  const given: Line[] = [];
  for (const i of visible) {
    const line = scene.lines[i];
    (line.given ? given : line.unfused ? apart : fused).push(line);
  }
  context.lineWidth = Math.max(1, 0.8 / camera.k);
  context.strokeStyle = mix(theme.text, theme.background, theme.forced ? 1 : 0.38);
  context.setLineDash([]);
  context.beginPath();
  for (const line of fused) trace(context, line.points);
  context.stroke();
  context.setLineDash(fine ? [2, 3] : []);
  context.beginPath();
  for (const line of given) trace(context, line.points);
  context.stroke();
  // Memory traffic is dashed and heavier with its bytes: readable without colour.
  const warm = theme.warn;
  context.strokeStyle = fine
    ? mix(warm, theme.background, 0.85)
    : mix(warm, theme.background, 0.45);
  for (const width of [1.2, 2, 3.2]) {
    context.lineWidth = Math.max(width, (width * 0.6) / camera.k);
    context.setLineDash(fine ? [5, 4] : []);
    context.beginPath();
    for (const line of apart) if (weightOf(line.bytes) === width) trace(context, line.points);
    context.stroke();
  }
  context.setLineDash([]);
  if (fine) {
    context.fillStyle = mix(theme.text, theme.background, 0.55);
    context.beginPath();
    for (const i of visible) arrow(context, scene.lines[i]);
    context.fill();
  }
  for (const i of [marks.hoverLine, marks.line]) {
    if (i < 0 || i >= scene.lines.length) continue;
    context.strokeStyle = theme.accent;
    context.lineWidth = (i === marks.line ? 3.5 : 2.5) / Math.min(1, camera.k);
    context.beginPath();
    trace(context, scene.lines[i].points);
    context.stroke();
  }
  if (camera.k > kTextZoom) lineLabels(input, visible);
}

function weightOf(bytes: number): number {
  return bytes < 1e5 ? 1.2 : bytes < 1e7 ? 2 : 3.2;
}

function lineLabels(input: DrawInput, visible: number[]): void {
  const { context, theme, scene } = input;
  if (visible.length > 150) return;
  context.font = `10px ${theme.font}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (const i of visible) {
    const line = scene.lines[i];
    if (!line.bytes) continue;
    const { points } = line;
    const half = Math.max(0, 2 * Math.floor((points.length / 2 - 1) / 2));
    const x = (points[half] + points[half + 2]) / 2;
    const y = (points[half + 1] + points[half + 3]) / 2;
    const text = `${line.crosses ? "⇉ " : ""}${format.bytes(line.bytes)}`;
    const width = context.measureText(text).width + 8;
    context.fillStyle = theme.background;
    context.fillRect(x - width / 2, y - 7, width, 14);
    context.fillStyle = theme.dim;
    context.fillText(text, x, y + 0.5);
  }
}

function drawGroup(input: DrawInput, box: Box): void {
  const { context, theme, camera } = input;
  const shade = theme.dark ? "#ffffff" : "#000000";
  context.fillStyle = theme.forced
    ? theme.background
    : mix(shade, theme.background, 0.035 * Math.min(3, box.item.depth));
  context.strokeStyle = theme.border;
  context.lineWidth = 1 / Math.min(1, camera.k);
  context.setLineDash(box.item.phase === "backward" ? [3, 3] : []);
  roundRect(context, box, 8);
  context.fill();
  context.stroke();
  context.setLineDash([]);
  if (camera.k < 0.18) return;
  // Titles of open groups stay readable longer than anything inside.
  const size = Math.min(13 / camera.k, 22);
  context.font = `600 ${size}px ${theme.font}`;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillStyle = theme.dim;
  const title = `▾ ${box.item.phase === "backward" ? "∂ " : ""}${box.item.title}`;
  context.fillText(
    format.elide(title, Math.floor((box.w - 16) / (size * 0.58))),
    box.x + 9,
    box.y + 15,
  );
}

function drawBox(input: DrawInput, box: Box): void {
  const { context, theme, camera } = input;
  const color = colorOf(box, input);
  if (camera.k < 0.2) {
    context.fillStyle = theme.forced ? theme.text : mix(color, theme.background, 0.75);
    context.fillRect(box.x, box.y, box.w, box.h);
    return;
  }
  const group = box.item.node < 0;
  context.fillStyle = theme.forced
    ? theme.background
    : mix(color, theme.background, theme.dark ? 0.26 : 0.17);
  context.strokeStyle = theme.forced ? theme.text : mix(color, theme.text, 0.8);
  context.lineWidth = 1.2;
  if (group && box.item.group < 0) stacked(input, box);
  roundRect(context, box, box.item.kind === "leaf" ? box.h / 2 : 5);
  context.fill();
  context.stroke();
  if (box.item.phase === "backward") {
    context.lineWidth = 1;
    roundRect(
      context,
      { x: box.x + 3, y: box.y + 3, w: box.w - 6, h: box.h - 6 },
      box.item.kind === "leaf" ? box.h / 2 : 3,
    );
    context.stroke();
  }
  if (camera.k < kTextZoom) return;
  drawText(input, box, color);
}

/** A closed module shows a second edge behind: there is more inside. */
function stacked({ context }: DrawInput, box: Box): void {
  roundRect(context, { x: box.x + 4, y: box.y + 4, w: box.w, h: box.h }, 5);
  context.fill();
  context.stroke();
}

function drawText(input: DrawInput, box: Box, color: string): void {
  const { context, theme, camera, index } = input;
  const { item } = box;
  context.textBaseline = "middle";
  context.textAlign = "left";
  context.font = `700 12px ${theme.font}`;
  context.fillStyle = theme.forced ? theme.text : mix(color, theme.text, 0.6);
  const glyph = glyphOf(box, input.coloring);
  const detail = camera.k >= kDetailZoom ? detailOf(box, index) : "";
  const y = box.y + (detail ? box.h / 2 - 7 : box.h / 2);
  context.fillText(glyph, box.x + 9, y);
  context.font = `${item.node < 0 ? "600 " : ""}12px ${theme.font}`;
  context.fillStyle = theme.text;
  const room = Math.floor((box.w - 34) / 6.6);
  const prefix = item.phase === "backward" ? "∂ " : "";
  context.fillText(format.elide(prefix + item.title, room), box.x + 24, y);
  if (!detail) return;
  context.font = `10px ${theme.font}`;
  context.fillStyle = theme.dim;
  context.fillText(
    format.elide(detail, Math.floor((box.w - 14) / 5.2)),
    box.x + 9,
    box.y + box.h / 2 + 8,
  );
}

function detailOf(box: Box, index: PlanIndex): string {
  const { item } = box;
  if (item.node >= 0) {
    const node = index.nodes.get(item.node);
    if (!node || box.h < 34) return "";
    return `${format.shape(node.shape)} ${node.dtype}`;
  }
  const group = index.groups.get(item.group);
  if (group)
    return `${format.counted(group.nodes.length, "op")} · ${format.bytes(group.reads + group.writes)} moved`;
  return `${format.counted(item.size, "op")} · ${format.bytes(item.bytes)}`;
}

function roundRect(
  context: CanvasRenderingContext2D,
  box: { x: number; y: number; w: number; h: number },
  radius: number,
): void {
  context.beginPath();
  context.roundRect(box.x, box.y, box.w, box.h, radius);
}

function ring(input: DrawInput, box: Box, color: string, width: number, dash: number[]): void {
  const { context, camera } = input;
  const grow = 3;
  context.strokeStyle = color;
  context.lineWidth = width / Math.min(1, camera.k);
  context.setLineDash(dash.map((d) => d / Math.min(1, camera.k)));
  roundRect(
    context,
    { x: box.x - grow, y: box.y - grow, w: box.w + 2 * grow, h: box.h + 2 * grow },
    8,
  );
  context.stroke();
  context.setLineDash([]);
}

function drawPairs(input: DrawInput): void {
  const { context, scene, marks, theme, camera } = input;
  if (marks.paired.size === 0) return;
  const at = (item: number) => scene.boxes[scene.boxOfItem.get(item) ?? -1];
  context.strokeStyle = theme.accent;
  context.lineWidth = 1.5 / Math.min(1, camera.k);
  context.setLineDash([2, 4]);
  for (const from of marks.selected) {
    const a = at(from);
    if (!a) continue;
    for (const to of marks.paired) {
      const b = at(to);
      if (!b || a === b) continue;
      const side = Math.max(a.x + a.w, b.x + b.w) + 40;
      context.beginPath();
      context.moveTo(a.x + a.w, a.y + a.h / 2);
      context.bezierCurveTo(side, a.y, side, b.y, b.x + b.w, b.y + b.h / 2);
      context.stroke();
    }
  }
  context.setLineDash([]);
}

/** Lines in sight, without those that only matter to whoever points at one of their ends. */
function linesInSight(input: DrawInput, view: readonly [number, number, number, number]): number[] {
  const { scene, marks } = input;
  const pointed = (item: number) =>
    marks.selected.has(item) || marks.hoverItem === item || marks.focus === item;
  return input.picks.linesIn(...view).filter((i) => {
    const line = scene.lines[i];
    return !line.quiet || pointed(line.src) || pointed(line.dst);
  });
}

export function drawScene(input: DrawInput): void {
  const { context, camera, scene, marks, theme } = input;
  const left = -camera.x / camera.k;
  const top = -camera.y / camera.k;
  const view = [left, top, left + input.width / camera.k, top + input.height / camera.k] as const;
  context.save();
  context.translate(camera.x, camera.y);
  context.scale(camera.k, camera.k);
  const boxes = input.picks.boxesIn(...view).map((i) => scene.boxes[i]);
  for (const box of boxes) if (box.open) drawGroup(input, box);
  drawLines(input, linesInSight(input, view));
  for (const box of boxes) if (!box.open) drawBox(input, box);
  for (const box of boxes) {
    const id = box.item.id;
    if (marks.paired.has(id)) ring(input, box, theme.accent, 2, [2, 3]);
    if (marks.found.has(id)) ring(input, box, theme.forced ? theme.accent : "#CC79A7", 3, [6, 3]);
    if (marks.selected.has(id)) ring(input, box, theme.accent, 3, []);
    else if (id === marks.hoverItem) ring(input, box, theme.accent, 1.5, []);
    if (id === marks.focus) ring(input, box, theme.text, 2, [4, 2]);
  }
  drawPairs(input);
  context.restore();
  minimap(input);
}

/** Where the view is inside the whole; drawn only when part of the scene is out of sight. */
function minimap({ context, scene, camera, width, height, theme }: DrawInput): void {
  const inside =
    camera.x >= -1 &&
    camera.y >= -1 &&
    scene.width * camera.k + camera.x <= width + 1 &&
    scene.height * camera.k + camera.y <= height + 1;
  if (inside || scene.width === 0) return;
  const k = Math.min(110 / scene.width, 90 / scene.height);
  const [w, h] = [scene.width * k, scene.height * k];
  const [x, y] = [width - w - 12, height - h - 12];
  context.fillStyle = theme.background;
  context.strokeStyle = theme.border;
  context.lineWidth = 1;
  context.fillRect(x - 4, y - 4, w + 8, h + 8);
  context.strokeRect(x - 4, y - 4, w + 8, h + 8);
  context.fillStyle = mix(theme.text, theme.background, 0.35);
  for (const box of scene.boxes) {
    if (!box.open)
      context.fillRect(
        x + box.x * k,
        y + box.y * k,
        Math.max(1, box.w * k),
        Math.max(1, box.h * k),
      );
  }
  const cut = (value: number, most: number) => Math.min(most, Math.max(0, value));
  const x0 = cut((-camera.x / camera.k) * k, w);
  const y0 = cut((-camera.y / camera.k) * k, h);
  const x1 = cut(((width - camera.x) / camera.k) * k, w);
  const y1 = cut(((height - camera.y) / camera.k) * k, h);
  context.strokeStyle = theme.accent;
  context.lineWidth = 1.5;
  context.strokeRect(x + x0, y + y0, Math.max(2, x1 - x0), Math.max(2, y1 - y0));
}
