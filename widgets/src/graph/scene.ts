// Boxes and lines to draw: the tree with its open groups, laid out container by container.
import type { PlanEdge } from "../shared/plan.ts";
import { layered } from "./layered.ts";
import type { Item, Tree } from "./tree.ts";

export interface Box {
  item: Item;
  /** Left top corner and size in layout units. */
  x: number;
  y: number;
  w: number;
  h: number;
  open: boolean;
}

export interface Line {
  src: number;
  dst: number;
  /** x, y pairs from the bottom of the source to the top of the target. */
  points: number[] | Float64Array;
  /** Positions in plan.edges. */
  edges: number[];
  fused: number;
  unfused: number;
  /** From a leaf: the value was in memory anyway. */
  given: boolean;
  /** Between devices: the value was copied, or a copy of it was found. */
  crosses: boolean;
  /** Drawn only when one of its ends is pointed at: a value from far above. */
  quiet: boolean;
  /** Bytes written and read because its edges are not fused. */
  bytes: number;
}

export interface Scene {
  /** Outer boxes before inner ones. */
  boxes: Box[];
  boxOfItem: Map<number, number>;
  lines: Line[];
  width: number;
  height: number;
}

const kPad = 14;
const kTitle = 24;
const kFar = 130;

/** Deterministic stand-in for text measuring, so that a layout depends on no font. */
function textWidth(text: string, perChar: number): number {
  return text.length * perChar;
}

export function sizeOf(item: Item): [number, number] {
  if (item.node >= 0) {
    const small = item.kind === "leaf" || item.kind === "scalar" || item.kind === "view";
    const width = Math.min(180, Math.max(small ? 64 : 92, textWidth(item.title, 7.2) + 44));
    return [width, small ? 30 : 38];
  }
  return [Math.min(230, Math.max(128, textWidth(item.title, 6.9) + 56)), 42];
}

interface Local {
  pairs: Array<[number, number]>;
  /** Only values from leaves go this way. */
  weak: boolean[];
  index: Map<string, number>;
  routes: number[][];
}

interface Lifted {
  line: Line;
  container: number;
  from: number;
  to: number;
}

/** Edges as seen with the given groups open, merged per pair of visible boxes. */
function visibleEdges(tree: Tree, edges: readonly PlanEdge[], rep: Int32Array): Map<string, Line> {
  const lines = new Map<string, Line>();
  const add = (a: number, b: number, edge: number) => {
    const [src, dst] = [rep[a], rep[b]];
    if (src === dst || src < 0 || dst < 0) return;
    const key = `${src}>${dst}`;
    let line = lines.get(key);
    if (!line) {
      const given = tree.items[src].kind === "leaf";
      line = {
        src,
        dst,
        points: [],
        edges: [],
        fused: 0,
        unfused: 0,
        given,
        crosses: false,
        quiet: false,
        bytes: 0,
      };
      lines.set(key, line);
    }
    if (line.edges[line.edges.length - 1] === edge) return;
    line.edges.push(edge);
    if (edges[edge].fused) line.fused++;
    else {
      line.unfused++;
      line.crosses ||= edges[edge].reason === "device_boundary";
      line.bytes += edges[edge].bytes;
    }
  };
  edges.forEach((edge, i) => {
    const stops = [edge.src, ...edge.via, edge.dst]
      .map((node) => tree.itemOfNode.get(node))
      .filter((item) => item !== undefined);
    for (let k = 0; k + 1 < stops.length; k++) add(stops[k], stops[k + 1], i);
  });
  return lines;
}

/** Which visible item stands for each item: itself, or the outermost closed group around it; -1: none. */
function representatives(
  items: readonly Item[],
  open: ReadonlySet<string>,
  most: number,
): Int32Array {
  const rep = new Int32Array(items.length).fill(-1);
  const walk = (id: number, closed: number) => {
    const item = items[id];
    rep[id] = closed >= 0 ? closed : id;
    const below = closed >= 0 ? closed : id !== 0 && !open.has(item.key) && item.node < 0 ? id : -1;
    const shown = Math.min(most, item.children.length);
    for (let i = 0; i < shown; i++) walk(item.children[i], below);
  };
  walk(0, -1);
  return rep;
}

function lift(items: readonly Item[], line: Line): Lifted {
  let from = line.src;
  let to = line.dst;
  while (items[from].depth > items[to].depth) from = items[from].parent;
  while (items[to].depth > items[from].depth) to = items[to].parent;
  while (items[from].parent !== items[to].parent) {
    from = items[from].parent;
    to = items[to].parent;
  }
  return { line, container: items[from].parent, from, to };
}

/** Boxes that show with these groups open. */
export function countShown(items: readonly Item[], open: ReadonlySet<string>): number {
  let count = 0;
  const stack = [...items[0].children];
  for (let id = stack.pop(); id !== undefined; id = stack.pop()) {
    count++;
    if (open.has(items[id].key)) for (const child of items[id].children) stack.push(child);
  }
  return count;
}

/** The scene; of each group no more than its first `most` members, for a first picture. */
export function buildScene(
  tree: Tree,
  edges: readonly PlanEdge[],
  open: ReadonlySet<string>,
  most = Number.POSITIVE_INFINITY,
): Scene {
  const { items } = tree;
  const rep = representatives(items, open, most);
  const lifted = [...visibleEdges(tree, edges, rep).values()].map((line) => lift(items, line));
  const locals = new Map<number, Local>();
  for (const { container, from, to, line } of lifted) {
    let local = locals.get(container);
    if (!local) {
      local = { pairs: [], weak: [], index: new Map(), routes: [] };
      locals.set(container, local);
    }
    const key = `${from}>${to}`;
    const at = local.index.get(key) ?? local.pairs.length;
    if (at === local.pairs.length) {
      local.index.set(key, at);
      local.pairs.push([from, to]);
      local.weak.push(true);
    }
    if (!line.given) local.weak[at] = false;
  }
  const boxes = new Map<number, Box>();
  const [width, height] = arrange(tree, open, locals, boxes, most);
  move(items, boxes, locals, 0, 0, 0);
  for (const entry of lifted) route(entry, boxes, locals);
  const ordered = [...boxes.values()].sort(
    (a, b) => a.item.depth - b.item.depth || a.item.id - b.item.id,
  );
  return {
    boxes: ordered,
    boxOfItem: new Map(ordered.map((box, i) => [box.item.id, i])),
    lines: lifted.map((entry) => entry.line),
    width,
    height,
  };
}

/** Lays out one container after its open children; positions are relative to the container. */
function arrange(
  tree: Tree,
  open: ReadonlySet<string>,
  locals: Map<number, Local>,
  boxes: Map<number, Box>,
  most: number,
  id = 0,
): [number, number] {
  const children = tree.items[id].children.slice(0, most);
  const position = new Map<number, number>();
  const widths: number[] = [];
  const heights: number[] = [];
  for (const child of children) {
    const item = tree.items[child];
    const opened = item.node < 0 && item.children.length > 0 && open.has(item.key);
    let [w, h] = sizeOf(item);
    if (opened) {
      const [innerW, innerH] = arrange(tree, open, locals, boxes, most, child);
      w = Math.max(w, innerW + 2 * kPad);
      h = innerH + kTitle + 2 * kPad;
    }
    position.set(child, widths.length);
    widths.push(w);
    heights.push(h);
    boxes.set(child, { item, x: 0, y: 0, w, h, open: opened });
  }
  const local = locals.get(id);
  const pairs = (local?.pairs ?? []).map(
    ([a, b]) => [position.get(a) as number, position.get(b) as number] as const,
  );
  const result = layered({ widths, heights, edges: pairs, weak: local?.weak ?? [] });
  children.forEach((child, i) => {
    const box = boxes.get(child) as Box;
    box.x = result.x[i] - box.w / 2;
    box.y = result.y[i] - box.h / 2;
  });
  if (local) local.routes = result.routes;
  return [result.width, result.height];
}

function move(
  items: readonly Item[],
  boxes: Map<number, Box>,
  locals: Map<number, Local>,
  id: number,
  dx: number,
  dy: number,
): void {
  for (const line of locals.get(id)?.routes ?? []) {
    for (let i = 0; i < line.length; i += 2) {
      line[i] += dx;
      line[i + 1] += dy;
    }
  }
  for (const child of items[id].children) {
    const box = boxes.get(child);
    if (!box) continue;
    box.x += dx;
    box.y += dy;
    if (!box.open) continue;
    // A group wider than its inside (long title) keeps it centred.
    let inner = 0;
    for (const grandchild of items[child].children) {
      const inside = boxes.get(grandchild) as Box;
      inner = Math.max(inner, inside.x + inside.w);
    }
    const spare = Math.max(0, box.w - 2 * kPad - inner) / 2;
    move(items, boxes, locals, child, box.x + kPad + spare, box.y + kTitle + kPad);
  }
}

function route(entry: Lifted, boxes: Map<number, Box>, locals: Map<number, Local>): void {
  const src = boxes.get(entry.line.src) as Box;
  const dst = boxes.get(entry.line.dst) as Box;
  const local = locals.get(entry.container);
  const at = local?.index.get(`${entry.from}>${entry.to}`);
  const way = at === undefined ? [] : (local?.routes[at] ?? []);
  const down = src.y + src.h / 2 <= dst.y + dst.h / 2;
  const start = [src.x + src.w / 2, down ? src.y + src.h : src.y];
  const end = [dst.x + dst.w / 2, down ? dst.y : dst.y + dst.h];
  entry.line.points = [...start, ...way, ...end];
  entry.line.quiet = entry.line.given && Math.abs(end[1] - start[1]) > kFar;
}
