// What is in sight and what is under the pointer, through R-trees.
import Flatbush from "flatbush";
import type { Scene } from "./scene.ts";

function tree(count: number): Flatbush | null {
  return count > 0 ? new Flatbush(count) : null;
}

export class SceneIndex {
  private boxes: Flatbush | null;
  private lines: Flatbush | null;

  constructor(private scene: Scene) {
    this.boxes = tree(scene.boxes.length);
    for (const box of scene.boxes) this.boxes?.add(box.x, box.y, box.x + box.w, box.y + box.h);
    this.boxes?.finish();
    this.lines = tree(scene.lines.length);
    for (const { points } of scene.lines) {
      let [x0, y0, x1, y1] = [points[0], points[1], points[0], points[1]];
      for (let i = 2; i < points.length; i += 2) {
        x0 = Math.min(x0, points[i]);
        x1 = Math.max(x1, points[i]);
        y0 = Math.min(y0, points[i + 1]);
        y1 = Math.max(y1, points[i + 1]);
      }
      this.lines?.add(x0, y0, x1, y1);
    }
    this.lines?.finish();
  }

  /** Positions in scene.boxes, outer boxes first. */
  boxesIn(x0: number, y0: number, x1: number, y1: number): number[] {
    return (this.boxes?.search(x0, y0, x1, y1) ?? []).sort((a, b) => a - b);
  }

  linesIn(x0: number, y0: number, x1: number, y1: number): number[] {
    return (this.lines?.search(x0, y0, x1, y1) ?? []).sort((a, b) => a - b);
  }

  /** Innermost box at a point, or -1. Only the title bar of an open group counts. */
  boxAt(x: number, y: number): number {
    const hits = this.boxesIn(x, y, x, y);
    for (let i = hits.length - 1; i >= 0; i--) {
      const box = this.scene.boxes[hits[i]];
      if (!box.open || y < box.y + 28) return hits[i];
    }
    return -1;
  }

  /** Nearest line within `reach`, or -1. */
  lineAt(x: number, y: number, reach: number): number {
    let best = -1;
    let nearest = reach * reach;
    for (const i of this.linesIn(x - reach, y - reach, x + reach, y + reach)) {
      if (this.scene.lines[i].quiet) continue;
      const distance = distanceTo(this.scene.lines[i].points, x, y);
      if (distance < nearest) [best, nearest] = [i, distance];
    }
    return best;
  }
}

/** Squared distance to the drawn curve, sampled: exact enough for a pointer. */
function distanceTo(points: ArrayLike<number>, x: number, y: number): number {
  let nearest = Number.POSITIVE_INFINITY;
  for (let i = 2; i < points.length; i += 2) {
    const [x0, y0, x1, y1] = [points[i - 2], points[i - 1], points[i], points[i + 1]];
    const steps = Math.max(8, Math.min(64, Math.ceil((Math.abs(x1 - x0) + Math.abs(y1 - y0)) / 6)));
    for (let step = 0; step <= steps; step++) {
      const t = step / steps;
      const s = 1 - t;
      const middle = (y0 + y1) / 2;
      // Control points share x with the ends and y with the middle, as drawn.
      const px = x0 * (s * s * s + 3 * s * s * t) + x1 * (3 * s * t * t + t * t * t);
      const py = y0 * s * s * s + 3 * middle * s * s * t + 3 * middle * s * t * t + y1 * t * t * t;
      nearest = Math.min(nearest, (px - x) ** 2 + (py - y) ** 2);
    }
  }
  return nearest;
}
