// Memory view: stacked live bytes, the peak explained, any moment's buffers.
import { useRef } from "preact/hooks";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { type Column, Table } from "../shared/table.tsx";
import type { TimeZoom } from "../shared/timezoom.ts";
import { ArenaView } from "./arena.tsx";
import { categoryColor, patternOf } from "./draw.ts";
import { Bands, Plot } from "./plot.tsx";
import type { Lifetime, Series } from "./series.ts";
import { currentSeries, memoryState, predictions } from "./state.ts";

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
  {
    key: "op",
    title: "buffer of",
    cell: (row) => (
      <>
        {row.name || row.op || "-"} {row.note && <span class="lam-dim">{row.note}</span>}
      </>
    ),
  },
  { key: "where", title: "line", cell: (row) => row.where || "-" },
  {
    key: "module",
    title: "module",
    cell: (row) => `${row.module || "-"}${row.phase === "backward" ? " (∂)" : ""}`,
  },
];

function peakRows(store: Store, series: Series): Lifetime[] {
  const parts = store.analysis.memory?.peak.parts;
  if (!parts) return series.liveAt(series.peak.t);
  return parts.map((part) => ({ ...part, t0: 0, t1: 0, plan: -1, node: -1, run: -1 }));
}

function Legend(props: {
  series: Series;
  at: number;
  predictedPeak: number;
  control: { current: TimeZoom | null };
}) {
  const { series, predictedPeak } = props;
  return (
    <div class="lam-toolbar lam-small">
      <Bands series={series} at={props.at} />
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
      <button type="button" class="lam-button" onClick={() => props.control.current?.reset()}>
        all
      </button>
    </div>
  );
}

export function MemoryView(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  const { pinned } = memoryState(store);
  const series = currentSeries(store);
  const predicted = predictions(store, series);
  const predictedPeak = predicted.reduce((most, span) => Math.max(most, span.bytes), 0);
  const control = useRef<TimeZoom | null>(null);
  const at = pinned.value;
  const rows = at === null ? peakRows(store, series) : series.liveAt(at);
  const sum = rows.reduce((total, row) => total + row.bytes, 0);
  const arena = rows.find((row) => row.category === "arena" && row.plan >= 0);
  return (
    <div class="lam-memory">
      <Plot store={store} series={series} predicted={predicted} control={control} />
      <Legend
        series={series}
        at={at ?? series.peak.t}
        predictedPeak={predictedPeak}
        control={control}
      />
      <div class="lam-lower">
        <h4 aria-live="polite">
          {at === null ? "The peak" : `Live at ${format.time(at)}`}: {format.bytes(sum)} in{" "}
          {format.counted(rows.length, "buffer")}{" "}
          {at !== null && (
            <button
              type="button"
              class="lam-button"
              onClick={() => {
                pinned.value = null;
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
          rowKey={(row, i) => `${i}:${row.t0}:${row.node}`}
          most={100}
        />
        <ArenaView store={store} plan={arena?.plan ?? store.plan.value} />
      </div>
    </div>
  );
}
