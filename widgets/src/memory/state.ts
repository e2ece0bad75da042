// Series and user state of the memory view, kept in the store.
import { type Signal, signal } from "@preact/signals";
import { R, type Store } from "../shared/model.ts";
import { exactSeries, LiveSeries, rowAt, type Series } from "./series.ts";

export interface State {
  live: LiveSeries;
  exact: Series | null;
  exactOf: unknown;
  zoom: { k: number; x: number };
  pinned: Signal<number | null>;
}

export function memoryState(store: Store): State {
  let state = store.kept.get("memory") as State | undefined;
  if (!state) {
    state = {
      live: new LiveSeries(store),
      exact: null,
      exactOf: null,
      zoom: { k: 1, x: 0 },
      pinned: signal(null),
    };
    store.kept.set("memory", state);
  }
  return state;
}

export function currentSeries(store: Store): Series {
  const state = memoryState(store);
  if (store.analysis.memory) {
    if (state.exactOf !== store.analysis.memory) {
      state.exact = exactSeries(store);
      state.exactOf = store.analysis.memory;
    }
    if (state.exact) return state.exact;
  }
  state.live.update();
  return state.live.series();
}

/** Highest bytes so far, for the header. */
export function livePeak(store: Store): number {
  if (store.analysis.memory) return store.analysis.memory.peak.bytes;
  const { live } = memoryState(store);
  live.update();
  return live.peakBytes;
}

export interface Prediction {
  t0: number;
  t1: number;
  bytes: number;
}

export function timeRange(store: Store, series: Series): [number, number] {
  const { runs } = store;
  let from = series.length ? series.t[0] : 0;
  let to = series.length ? series.t[series.length - 1] : 1e6;
  if (runs.length) {
    from = Math.min(from, runs.column(R.t0)[0]);
    to = Math.max(to, runs.column(R.t1)[runs.length - 1]);
  }
  if (!(to > from)) to = from + 1e6;
  return [from, to + (to - from) * 0.01];
}

/** Predicted peak of each evaluation: what was live before it plus what its plan announced. */
export function predictions(store: Store, series: Series): Prediction[] {
  const { runs } = store;
  const result: Prediction[] = [];
  const start = Math.max(0, runs.length - 3000);
  for (let i = start; i < runs.length; i++) {
    const memory = store.plans.get(runs.column(R.plan)[i])?.plan.memory;
    if (!memory) continue;
    const t0 = runs.column(R.t0)[i];
    const base = series.total[Math.max(0, rowAt(series, t0 - 1))] ?? 0;
    result.push({
      t0,
      t1: runs.column(R.t1)[i],
      bytes: base + memory.arena_bytes + memory.output_bytes,
    });
  }
  return result;
}
