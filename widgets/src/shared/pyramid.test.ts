import assert from "node:assert/strict";
import { test } from "node:test";
import { peaksPerPixel, SlicePyramid } from "./pyramid.ts";

function slices(count: number): [Float64Array, Float64Array] {
  const t0 = new Float64Array(count);
  const t1 = new Float64Array(count);
  for (let i = 0, t = 0; i < count; i++) {
    t0[i] = t + 3;
    t1[i] = t0[i] + 1 + (i % 7);
    t = t1[i];
  }
  return [t0, t1];
}

test("busy time is the same at every level of detail", () => {
  const [t0, t1] = slices(100_000);
  const pyramid = new SlicePyramid();
  pyramid.update(t0, t1, t0.length);
  const total = t0.reduce((sum, start, i) => sum + t1[i] - start, 0);
  for (const most of [1, 50, 1000, 50_000, 1_000_000]) {
    const marks = pyramid.marks(0, t1[t1.length - 1], most);
    assert.equal(
      marks.reduce((sum, mark) => sum + mark.busy, 0),
      total,
    );
    assert.equal(
      marks.reduce((sum, mark) => sum + mark.count, 0),
      t0.length,
    );
    assert.ok(marks.length <= Math.max(most, 16) + 16 * 6);
  }
});

test("growing in pieces gives what building at once gives", () => {
  const [t0, t1] = slices(5000);
  const whole = new SlicePyramid();
  whole.update(t0, t1, 5000);
  const pieces = new SlicePyramid();
  for (let n = 0; n <= 5000; n += 37) pieces.update(t0, t1, n);
  pieces.update(t0, t1, 5000);
  assert.deepEqual(pieces.marks(0, 1e9, 40), whole.marks(0, 1e9, 40));
});

test("a zoomed stretch shows single slices", () => {
  const [t0, t1] = slices(100_000);
  const pyramid = new SlicePyramid();
  pyramid.update(t0, t1, t0.length);
  const marks = pyramid.marks(t0[5000], t1[5009], 500);
  assert.deepEqual(
    marks.map((mark) => mark.index),
    Array.from({ length: 10 }, (_, i) => 5000 + i),
  );
});

test("the peak is drawn however many events share its pixel", () => {
  const count = 50_000;
  const t = Float64Array.from({ length: count }, (_, i) => i);
  const value = Float64Array.from({ length: count }, (_, i) => (i === 31_337 ? 1e9 : i % 100));
  for (const pixels of [1, 10, 333, 1000]) {
    const rows = peaksPerPixel(t, value, count, 0, count, pixels);
    assert.ok([...rows].includes(31_337));
  }
  assert.deepEqual([...peaksPerPixel([5], [1], 1, 0, 10, 4)], [-1, -1, 0, 0]);
});
