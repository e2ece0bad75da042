import assert from "node:assert/strict";
import { test } from "node:test";
import { type LayoutInput, layered, separate } from "./layered.ts";

/** Repeatable random numbers in [0, 1). */
function mulberry(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function randomDag(count: number, seed: number): LayoutInput {
  const random = mulberry(seed);
  const edges: [number, number][] = [];
  for (let node = 1; node < count; node++) {
    const inputs = 1 + Math.floor(random() * 2);
    for (let k = 0; k < inputs; k++) {
      const far = random() < 0.05;
      const from = far
        ? Math.floor(random() * node)
        : Math.max(0, node - 1 - Math.floor(random() * 12));
      edges.push([from, node]);
    }
  }
  const widths = Array.from({ length: count }, () => 60 + Math.floor(random() * 100));
  return { widths, heights: new Array(count).fill(36), edges };
}

test("the same graph gives the same coordinates to the bit", () => {
  const input = randomDag(500, 7);
  const [a, b] = [layered(input), layered(input)];
  assert.deepEqual(a.x, b.x);
  assert.deepEqual(a.y, b.y);
  assert.deepEqual(a.routes, b.routes);
});

test("edges point down and boxes of a layer do not overlap", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const input = randomDag(120, seed);
    const { x, y } = layered(input);
    for (const [a, b] of input.edges) assert.ok(y[a] < y[b], `seed ${seed}: ${a} above ${b}`);
    const rows = new Map<number, number[]>();
    y.forEach((value, i) => {
      rows.set(value, [...(rows.get(value) ?? []), i]);
    });
    for (const row of rows.values()) {
      row.sort((a, b) => x[a] - x[b]);
      for (let i = 1; i < row.length; i++) {
        const gap =
          x[row[i]] - x[row[i - 1]] - (input.widths[row[i]] + input.widths[row[i - 1]]) / 2;
        assert.ok(
          gap > -1e-6,
          `seed ${seed}: boxes ${row[i - 1]} and ${row[i]} overlap by ${-gap}`,
        );
      }
    }
  }
});

test("a chain is a straight line", () => {
  const { x } = layered({
    widths: [50, 80, 50, 60],
    heights: [30, 30, 30, 30],
    edges: [
      [0, 1],
      [1, 2],
      [2, 3],
    ],
  });
  for (const value of x) assert.ok(Math.abs(value - x[0]) < 1e-6);
});

test("cycles, self loops, repeats and empty graphs are laid out", () => {
  assert.equal(layered({ widths: [], heights: [], edges: [] }).width, 0);
  const { y } = layered({
    widths: [10, 10, 10],
    heights: [10, 10, 10],
    edges: [
      [0, 1],
      [0, 1],
      [1, 2],
      [2, 0],
      [1, 1],
    ],
  });
  assert.ok(y[0] < y[1] && y[1] < y[2]);
});

test("separation is kept and the weighted mean does not move", () => {
  const placed = separate([0, 0, 0, 100], [1, 1, 2, 1], [10, 10, 10]);
  assert.ok(placed[1] - placed[0] >= 10 - 1e-9 && placed[2] - placed[1] >= 10 - 1e-9);
  assert.equal(placed[3], 100);
  assert.ok(Math.abs(placed[0] + placed[1] + 2 * placed[2]) < 1e-9);
});

test("ten times the nodes cost less than forty times the time", () => {
  const measure = (count: number) => {
    const input = randomDag(count, 3);
    let best = Number.POSITIVE_INFINITY;
    for (let i = 0; i < 3; i++) {
      const start = performance.now();
      layered(input);
      best = Math.min(best, performance.now() - start);
    }
    return best;
  };
  measure(1000);
  const [small, large] = [measure(2000), measure(20000)];
  assert.ok(large < Math.max(40 * small, 400), `2k nodes ${small} ms, 20k nodes ${large} ms`);
});
