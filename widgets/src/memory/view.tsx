// Memory view: stacked live bytes, the peak explained, any moment's buffers.
import { type Signal, signal } from "@preact/signals";
import { useRef, useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import { R, type Store } from "../shared/model.ts";
import { toValue } from "../shared/scale.ts";
import { type Column, Table } from "../shared/table.tsx";
import { useTimeZoom } from "../shared/timezoom.ts";
import { ArenaView } from "./arena.tsx";
import { categoryColor, drawMemory, kLeft, patternOf, stackOrder } from "./draw.ts";
import { exactSeries, type Lifetime, LiveSeries, liveAt, type Series } from "./series.ts";

interface State {
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
  return currentSeries(store).peak.bytes;
}

function timeRange(store: Store, series: Series): [number, number] {
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
function predictions(store: Store, series: Series): { t0: number; t1: number; bytes: number }[] {
  const { runs } = store;
  const result: { t0: number; t1: number; bytes: number }[] = [];
  let at = 0;
  const start = Math.max(0, runs.length - 3000);
  for (let i = start; i < runs.length; i++) {
    const memory = store.plans.get(runs.column(R.plan)[i])?.plan.memory;
    if (!memory) continue;
    const t0 = runs.column(R.t0)[i];
    while (at < series.length && series.t[at] < t0) at++;
    const base = at > 0 ? series.total[at - 1] : series.length ? series.total[0] : 0;
    result.push({
      t0,
      t1: runs.column(R.t1)[i],
      bytes: base + memory.arena_bytes + memory.output_bytes,
    });
  }
  return result;
}

type Key = "bytes" | "category" | "op" | "where" | "module";

const kColumns: Column<Lifetime, Key>[] = [
  { key: "bytes", title: "bytes", number: true, cell: (row) => format.bytes(row.bytes) },
  {
    key: "category",
    title: "category",
    cell: (row) => (
      <>
        <i
          class={`lam-swatch lam-p${patternOf(row.category)}`}
          style={{ "--swatch": categoryColor(row.category) }}
        />
        {row.category}
      </>
    ),
  },
  { key: "op", title: "buffer of", cell: (row) => row.op || "-" },
  { key: "where", title: "line", cell: (row) => row.where || "-" },
  {
    key: "module",
    title: "module",
    cell: (row) => `${row.module || "-"}${row.phase === "backward" ? " (∂)" : ""}`,
  },
];

function peakRows(store: Store, series: Series): Lifetime[] {
  const parts = store.analysis.memory?.peak.parts;
  if (!parts) return liveAt(series, series.peak.t);
  return parts.map((part) => ({ ...part, t0: 0, t1: 0, plan: -1, node: -1, run: -1 }));
}

function Bands(props: { series: Series; at: number | null }) {
  const { series } = props;
  let row = series.length - 1;
  if (props.at !== null) while (row > 0 && series.t[row] > props.at) row--;
  return (
    <ul class="lam-legend" aria-label="Categories">
      {stackOrder(series.names)
        .reverse()
        .map((c) => (
          <li key={series.names[c]}>
            <i
              class={`lam-swatch lam-p${patternOf(series.names[c])}`}
              style={{ "--swatch": categoryColor(series.names[c]) }}
            />
            {series.names[c]} {row >= 0 && format.bytes(series.columns[c][row])}
          </li>
        ))}
    </ul>
  );
}

export function MemoryView(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  const state = memoryState(store);
  const series = currentSeries(store);
  const [cursor, setCursor] = useState<{ x: number; y: number; t: number } | null>(null);
  const pinned = state.pinned.value;
  const range = timeRange(store, series);
  const predicted = predictions(store, series);
  const predictedPeak = predicted.reduce((most, span) => Math.max(most, span.bytes), 0);
  const top = Math.max(series.peak.bytes, predictedPeak, 1) * 1.06;
  const zoomRef = useRef<ReturnType<typeof useTimeZoom> | null>(null);
  const canvas = useCanvas((surface) => {
    const axis = zoomRef.current?.axis(range, surface.width - kLeft);
    if (axis)
      drawMemory({ ...surface, series, axis, predicted, top, cursor: cursor?.t ?? null, pinned });
  });
  const zoom = useTimeZoom(canvas.ref, state.zoom, kLeft, canvas.redraw);
  zoomRef.current = zoom;
  const at = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (x < kLeft) return null;
    return { x, y, t: toValue(zoom.axis(range, box.width - kLeft), x - kLeft) };
  };
  const step = (by: number) => {
    const now = pinned ?? series.peak.t;
    let row = 0;
    while (row < series.length - 1 && series.t[row] < now) row++;
    const next = Math.min(series.length - 1, Math.max(0, row + by));
    state.pinned.value = series.t[next] ?? null;
    store.announcement.value = `${format.time(series.t[next])}: ${format.bytes(series.total[next])} live`;
  };
  const rows = pinned === null ? peakRows(store, series) : liveAt(series, pinned);
  const sum = rows.reduce((total, row) => total + row.bytes, 0);
  const arenaPlan =
    rows.find((row) => row.category === "arena" && row.plan >= 0)?.plan ?? store.plan.value;
  return (
    <div class="lam-memory">
      <div class="lam-stage lam-plot">
        <canvas
          ref={canvas.ref}
          class="lam-canvas"
          tabIndex={0}
          role="img"
          aria-label={`Live memory over time, peak ${format.bytes(series.peak.bytes)}. Arrow keys move through the moments, P goes to the peak, plus and minus zoom. The table has the buffers.`}
          onMouseMove={(event) => setCursor(event.buttons ? null : at(event))}
          onMouseLeave={() => setCursor(null)}
          onClick={(event) => {
            state.pinned.value = at(event)?.t ?? null;
          }}
          onKeyDown={(event) => {
            if (event.key === "ArrowRight") step(1);
            else if (event.key === "ArrowLeft") step(-1);
            else if (event.key === "p" || event.key === "Escape") state.pinned.value = null;
            else if (event.key === "+" || event.key === "=") zoom.by(1.5, 0);
            else if (event.key === "-") zoom.by(1 / 1.5, 0);
            else if (event.key === "0") zoom.reset();
            else return;
            event.preventDefault();
            event.stopPropagation();
          }}
        />
        <Tooltip
          at={cursor}
          width={canvas.ref.current?.clientWidth ?? 600}
          height={canvas.ref.current?.clientHeight ?? 160}
        >
          {cursor && (
            <>
              <strong>{format.time(cursor.t)}</strong>
              <Bands series={series} at={cursor.t} />
              <div class="lam-dim">click: list the buffers of this moment</div>
            </>
          )}
        </Tooltip>
      </div>
      <div class="lam-toolbar">
        <Bands series={series} at={pinned ?? series.peak.t} />
        <span class="lam-grow" />
        <span>
          ▼ peak {format.bytes(series.peak.bytes)}
          {predictedPeak > 0 && (
            <>
              {" "}
              · <i class="lam-dash" /> predicted {format.bytes(predictedPeak)}
            </>
          )}
        </span>
        {zoom.zoomed() && (
          <button type="button" class="lam-button" onClick={zoom.reset}>
            all
          </button>
        )}
      </div>
      <div class="lam-lower">
        <h4 aria-live="polite">
          {pinned === null ? "The peak" : `Live at ${format.time(pinned)}`}: {format.bytes(sum)} in{" "}
          {rows.length} buffers{" "}
          {pinned !== null && (
            <button
              type="button"
              class="lam-button"
              onClick={() => {
                state.pinned.value = null;
              }}
            >
              back to the peak
            </button>
          )}
        </h4>
        <Table
          label="Buffers"
          columns={kColumns}
          rows={rows}
          rowKey={(row) =>
            `${row.t0}:${row.run}:${row.node}:${row.op}:${row.bytes}:${row.where}:${row.module}`
          }
          most={100}
        />
        <ArenaView store={store} plan={arenaPlan} />
      </div>
    </div>
  );
}
