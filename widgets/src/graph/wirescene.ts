// A scene as a few flat arrays, which travel between threads without being copied.
import type { Line, Scene } from "./scene.ts";
import type { Item } from "./tree.ts";

const kBox = 6;
const kLine = 8;

export interface Packed {
  /** item, x, y, w, h, open. */
  boxes: Float64Array;
  /** src, dst, number of coordinates, number of edges, fused, unfused, flags, bytes. */
  lines: Float64Array;
  points: Float64Array;
  edges: Int32Array;
  width: number;
  height: number;
}

export function buffersOf(packed: Packed): ArrayBuffer[] {
  return [packed.boxes, packed.lines, packed.points, packed.edges].map(
    (array) => array.buffer as ArrayBuffer,
  );
}

export function pack(scene: Scene): Packed {
  const boxes = new Float64Array(scene.boxes.length * kBox);
  scene.boxes.forEach((box, i) => {
    boxes.set([box.item.id, box.x, box.y, box.w, box.h, Number(box.open)], i * kBox);
  });
  const lines = new Float64Array(scene.lines.length * kLine);
  const sum = (of: (line: Line) => number) => scene.lines.reduce((n, line) => n + of(line), 0);
  const points = new Float64Array(sum((line) => line.points.length));
  const edges = new Int32Array(sum((line) => line.edges.length));
  let [atPoint, atEdge] = [0, 0];
  scene.lines.forEach((line, i) => {
    const flags = Number(line.given) | (Number(line.quiet) << 1) | (Number(line.crosses) << 2);
    const sizes = [line.points.length, line.edges.length];
    lines.set(
      [line.src, line.dst, ...sizes, line.fused, line.unfused, flags, line.bytes],
      i * kLine,
    );
    points.set(line.points, atPoint);
    edges.set(line.edges, atEdge);
    atPoint += line.points.length;
    atEdge += line.edges.length;
  });
  return { boxes, lines, points, edges, width: scene.width, height: scene.height };
}

export function unpack(packed: Packed, items: readonly Item[]): Scene {
  const { boxes, lines, points, edges } = packed;
  const scene: Scene = {
    boxes: [],
    boxOfItem: new Map(),
    lines: [],
    width: packed.width,
    height: packed.height,
  };
  for (let i = 0; i < boxes.length; i += kBox) {
    const item = items[boxes[i]];
    scene.boxOfItem.set(item.id, scene.boxes.length);
    scene.boxes.push({
      item,
      x: boxes[i + 1],
      y: boxes[i + 2],
      w: boxes[i + 3],
      h: boxes[i + 4],
      open: boxes[i + 5] === 1,
    });
  }
  let [atPoint, atEdge] = [0, 0];
  for (let i = 0; i < lines.length; i += kLine) {
    const firstPoint = atPoint;
    atPoint += lines[i + 2];
    const own: number[] = [];
    for (const end = atEdge + lines[i + 3]; atEdge < end; atEdge++) own.push(edges[atEdge]);
    scene.lines.push({
      src: lines[i],
      dst: lines[i + 1],
      points: points.subarray(firstPoint, atPoint),
      edges: own,
      fused: lines[i + 4],
      unfused: lines[i + 5],
      given: (lines[i + 6] & 1) === 1,
      quiet: (lines[i + 6] & 2) === 2,
      crosses: (lines[i + 6] & 4) === 4,
      bytes: lines[i + 7],
    });
  }
  return scene;
}
