// Live bytes over time by category, and the lifetime of every buffer: summed up from the stream while the cell
// runs, taken from the analysis afterwards.

import { Columns } from "../shared/columns.ts";
import { B, type Store } from "../shared/model.ts";

export interface Lifetime {
  t0: number;
  t1: number;
  bytes: number;
  category: string;
  op: string;
  name?: string | undefined;
  where: string;
  module: string;
  phase: string;
  plan: number;
  node: number;
  run: number;
  note?: string;
}

export interface Series {
  t: Float64Array;
  length: number;
  /** One column a category; they add up to `total`. */
  names: string[];
  columns: Float64Array[];
  total: Float64Array;
  peak: { t: number; bytes: number };
  /** Buffers live at a moment, largest first. */
  liveAt: (t: number) => Lifetime[];
  /** True when the figures are the analysis' own. */
  exact: boolean;
}

export const kBefore = "before the recording";

interface Open {
  t: number;
  bytes: number;
  category: number;
  node: number;
  run: number;
}

/** Follows allocator events as they arrive; adopted (external) memory is not the allocator's and stays out. */
export class LiveSeries {
  private points = new Columns(1 + 1 + 9);
  private now = new Float64Array(9);
  private open = new Map<number, Open>();
  private closed: (Open & { until: number })[] = [];
  private consumed = 0;
  private marks = 0;
  private epoch = -1;
  private held = 0;
  private ever = new Array<boolean>(9).fill(false);
  private peak = { t: 0, bytes: 0 };

  constructor(private store: Store) {}

  update(): void {
    const { store } = this;
    if (this.epoch !== store.epoch || this.held !== store.meta.active_bytes) this.clear();
    const { buffers, watermarks } = store;
    const columns = [B.t, B.op, B.buffer, B.bytes, B.category, B.node, B.run].map((i) =>
      buffers.column(i),
    );
    const rows: Float64Array[] = Array.from(
      { length: 11 },
      () => new Float64Array(Math.max(0, buffers.length + buffers.forgotten - this.consumed)),
    );
    let filled = 0;
    for (let i = Math.max(0, this.consumed - buffers.forgotten); i < buffers.length; i++) {
      const [t, op, buffer, bytes, category, node, run] = columns.map((column) => column[i]);
      if (!this.take(op, buffer, { t, bytes, category, node, run })) continue;
      rows[0][filled] = t;
      let total = 0;
      for (let c = 0; c < 9; c++) {
        rows[2 + c][filled] = this.now[c];
        total += this.now[c];
      }
      rows[1][filled] = total;
      if (total > this.peak.bytes) this.peak = { t, bytes: total };
      filled++;
    }
    this.consumed = buffers.length + buffers.forgotten;
    if (filled) this.points.append(rows.map((column) => column.subarray(0, filled)));
    for (; this.marks < watermarks.length + watermarks.forgotten; this.marks++) {
      const at = this.marks - watermarks.forgotten;
      if (at < 0) continue;
      const bytes = watermarks.column(1)[at];
      if (bytes > this.peak.bytes) this.peak = { t: watermarks.column(0)[at], bytes };
    }
  }

  get peakBytes(): number {
    return this.peak.bytes;
  }

  series(): Series {
    const { points, store } = this;
    const used = this.ever.flatMap((seen, c) => (seen ? [c] : []));
    return {
      t: points.column(0),
      length: points.length,
      names: used.map((c) => (c === 8 ? kBefore : store.category(c))),
      columns: used.map((c) => points.column(2 + c)),
      total: points.column(1),
      peak: this.peak,
      liveAt: (t) => this.liveAt(t),
      exact: false,
    };
  }

  private liveAt(t: number): Lifetime[] {
    const forever = Number.POSITIVE_INFINITY;
    const found = this.closed.filter((entry) => entry.t <= t && t < entry.until);
    const rows = found.map((entry) => this.named(entry, entry.until));
    for (const entry of this.open.values()) {
      if (entry.t <= t) rows.push(this.named(entry, forever));
    }
    return sorted(rows);
  }

  private named(entry: Open, until: number): Lifetime {
    const { store } = this;
    const plan = planOfRun(store, entry.run);
    const node = store.plans.get(plan)?.nodes.get(entry.node);
    const origin = node ? store.originOf(plan, node.id) : null;
    return {
      t0: entry.t,
      t1: until,
      bytes: entry.bytes,
      category: store.category(entry.category),
      op: entry.category === 6 ? "arena" : (node?.op ?? ""),
      name: node?.name,
      where: node ? store.where(plan, node.id) : "",
      module: origin?.module ?? "",
      phase: origin?.phase ?? "",
      plan,
      node: entry.node,
      run: entry.run,
    };
  }

  private take(op: number, buffer: number, entry: Open): boolean {
    if (op === 4) {
      this.open.set(buffer, entry);
      this.now[entry.category] += entry.bytes;
      this.ever[entry.category] = true;
      return true;
    }
    if (op !== 5) return false;
    const begun = this.open.get(buffer);
    if (!begun) {
      this.now[8] = Math.max(0, this.now[8] - entry.bytes);
      return true;
    }
    this.open.delete(buffer);
    this.now[begun.category] -= begun.bytes;
    this.closed.push({ ...begun, until: entry.t });
    // Long loops: only the newest lifetimes can be looked at before the analysis arrives.
    if (this.closed.length > 40_000) this.closed.splice(0, 20_000);
    return true;
  }

  private clear(): void {
    this.points.clear();
    this.now.fill(0);
    this.held = this.store.meta.active_bytes;
    this.now[8] = this.held;
    this.ever.fill(false);
    this.ever[8] = this.held > 0;
    this.open.clear();
    this.closed = [];
    this.consumed = 0;
    this.marks = 0;
    this.peak = { t: 0, bytes: 0 };
    this.epoch = this.store.epoch;
  }
}

export function planOfRun(store: Store, run: number): number {
  const { runs } = store;
  const ids = runs.column(0);
  // Runs are numbered upwards.
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ids[middle] < run) low = middle + 1;
    else high = middle;
  }
  return low < runs.length && ids[low] === run ? runs.column(1)[low] : -1;
}

/** The analysis' series; null while it has not arrived. */
export function exactSeries(store: Store): Series | null {
  const memory = store.analysis.memory;
  if (!memory) return null;
  const { t_origin } = store.analysis;
  const shift = t_origin && store.meta.t_origin ? t_origin - store.meta.t_origin : 0;
  const columns = memory.columns.map((column) => Float64Array.from(column));
  const total = Float64Array.from({ length: memory.t.length }, (_, i) =>
    columns.reduce((sum, column) => sum + column[i], 0),
  );
  const lifetimes: Lifetime[] = memory.buffers.map((buffer) => ({
    ...buffer,
    t0: buffer.t0 + shift,
    t1: buffer.t1 === null ? Number.POSITIVE_INFINITY : buffer.t1 + shift,
    plan: planOfRun(store, buffer.run),
  }));
  return {
    t: Float64Array.from(memory.t, (t) => t + shift),
    length: memory.t.length,
    names: memory.names,
    columns,
    total,
    peak: { t: memory.peak.t + shift, bytes: memory.peak.bytes },
    liveAt: (t) => sorted(lifetimes.filter((entry) => entry.t0 <= t && t < entry.t1)),
    exact: true,
  };
}

function sorted(rows: Lifetime[]): Lifetime[] {
  return rows.sort((a, b) => b.bytes - a.bytes || a.t0 - b.t0);
}

/** Row in force at a moment, -1 before the first. */
export function rowAt(series: Series, t: number): number {
  let low = 0;
  let high = series.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (series.t[middle] <= t) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
