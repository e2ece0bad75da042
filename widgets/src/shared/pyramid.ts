// Slices summed up in buckets of 16, 256, ... so that a million of them draw in the time of a thousand.

const kFan = 16;

interface Level {
  start: number[];
  end: number[];
  busy: number[];
}

/** One drawn mark: a single slice (`index` >= 0) or a bucket with the share of time it is busy. */
export interface Mark {
  t0: number;
  t1: number;
  busy: number;
  index: number;
  count: number;
}

/** Over slices ordered by start; `update` takes in what was appended since. */
export class SlicePyramid {
  private levels: Level[] = [];
  private done: number[] = [];
  private length = 0;
  private t0: Float64Array = new Float64Array(0);
  private t1: Float64Array = new Float64Array(0);

  update(t0: Float64Array, t1: Float64Array, length: number): void {
    this.t0 = t0;
    this.t1 = t1;
    if (length < this.length) this.clear();
    this.length = length;
    for (let k = 0; ; k++) {
      const below = k === 0 ? length : this.done[k - 1];
      const full = Math.floor(below / kFan);
      this.levels[k] ??= { start: [], end: [], busy: [] };
      this.done[k] ??= 0;
      for (let bucket = this.done[k]; bucket < full; bucket++) this.fill(k, bucket);
      this.done[k] = full;
      if (full < kFan) break;
    }
  }

  clear(): void {
    this.levels = [];
    this.done = [];
    this.length = 0;
  }

  /** Marks that meet [from, to], about `most` of them; sums of `busy` are exact at every level. */
  marks(from: number, to: number, most: number): Mark[] {
    let level = -1;
    let [low, high] = this.range(-1, from, to);
    while (high - low > most && level + 1 < this.levels.length && this.done[level + 1] > 0) {
      level++;
      [low, high] = this.range(level, from, to);
    }
    const result: Mark[] = [];
    for (let i = low; i < high; i++) result.push(this.mark(level, i));
    // The newest slices are in no full bucket yet.
    for (let below = level; below >= 0; below--) {
      const first = this.done[below] * kFan;
      const last = below === 0 ? this.length : this.done[below - 1];
      for (let i = first; i < last; i++) {
        const mark = this.mark(below - 1, i);
        if (mark.t0 <= to && mark.t1 >= from) result.push(mark);
      }
    }
    return result;
  }

  private size(level: number): number {
    return level < 0 ? this.length : this.done[level];
  }

  private start(level: number, i: number): number {
    return level < 0 ? this.t0[i] : this.levels[level].start[i];
  }

  private end(level: number, i: number): number {
    return level < 0 ? this.t1[i] : this.levels[level].end[i];
  }

  private mark(level: number, i: number): Mark {
    const t0 = this.start(level, i);
    const t1 = this.end(level, i);
    if (level < 0) return { t0, t1, busy: t1 - t0, index: i, count: 1 };
    return { t0, t1, busy: this.levels[level].busy[i], index: -1, count: kFan ** (level + 1) };
  }

  private range(level: number, from: number, to: number): [number, number] {
    const size = this.size(level);
    let low = 0;
    let high = size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.end(level, middle) < from) low = middle + 1;
      else high = middle;
    }
    const first = low;
    high = size;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start(level, middle) <= to) low = middle + 1;
      else high = middle;
    }
    return [first, low];
  }

  private fill(level: number, bucket: number): void {
    const { start, end, busy } = this.levels[level];
    let last = Number.NEGATIVE_INFINITY;
    let sum = 0;
    for (let i = bucket * kFan; i < (bucket + 1) * kFan; i++) {
      last = Math.max(last, this.end(level - 1, i));
      sum += level === 0 ? this.t1[i] - this.t0[i] : this.levels[level - 1].busy[i];
    }
    start[bucket] = this.start(level - 1, bucket * kFan);
    end[bucket] = last;
    busy[bucket] = sum;
  }
}

/** For each pixel the row of the largest value in its stretch of time, -1 where nothing happened. */
export function peaksPerPixel(
  t: ArrayLike<number>,
  value: ArrayLike<number>,
  length: number,
  from: number,
  to: number,
  pixels: number,
): Int32Array {
  const rows = new Int32Array(pixels).fill(-1);
  const scale = pixels / (to - from || 1);
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (t[middle] < from) low = middle + 1;
    else high = middle;
  }
  // The state before the first event in sight reaches into it.
  let current = low - 1;
  let pixel = 0;
  for (let i = low; i < length && t[i] <= to; i++) {
    const at = Math.min(pixels - 1, Math.floor((t[i] - from) * scale));
    for (; pixel < at; pixel++) if (rows[pixel] < 0) rows[pixel] = current;
    // The state before the event fills the pixel's first part.
    const best = rows[at] < 0 ? current : rows[at];
    rows[at] = best < 0 || value[i] >= value[best] ? i : best;
    current = i;
  }
  for (; pixel < pixels; pixel++) if (rows[pixel] < 0) rows[pixel] = current;
  return rows;
}
