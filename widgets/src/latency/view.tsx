// Latency view: timeline above, kernels below.
import { useRef, useState } from "preact/hooks";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { type Column, Table } from "../shared/table.tsx";
import { kKindGlyph } from "../shared/theme.ts";
import type { TimeZoom } from "../shared/timezoom.ts";
import { Plot } from "./plot.tsx";
import { type KernelRow, kernelRows, type SortKey, sortRows } from "./rows.ts";
import { type Chosen, latencyState, pickLaunch, selectedLaunches } from "./state.ts";

const kColumns: Column<KernelRow, SortKey>[] = [
  {
    key: "name",
    title: "kernel",
    cell: (row) => (
      <span title={row.name}>
        {kKindGlyph[row.kind] ?? "·"} {format.elide(row.name, 46)}
      </span>
    ),
  },
  { key: "count", title: "count", number: true, cell: (row) => format.count(row.count) },
  { key: "total", title: "total", number: true, cell: (row) => format.time(row.total) },
  { key: "median", title: "median", number: true, cell: (row) => format.time(row.median) },
  { key: "bytes", title: "bytes", number: true, cell: (row) => format.bytes(row.bytes) },
  { key: "gbs", title: "GB/s", number: true, cell: (row) => row.gbs.toFixed(2) },
  {
    key: "share",
    title: "of peak",
    hint: "share of the memory bandwidth measured on this machine",
    number: true,
    cell: (row) =>
      Number.isFinite(row.share) ? (
        <span class="lam-bar" style={{ "--share": `${Math.min(100, row.share * 100)}%` }}>
          {format.percent(row.share)}
        </span>
      ) : (
        "-"
      ),
  },
];

function percentOr(value: number): string {
  return Number.isFinite(value) ? format.percent(value) : "-";
}

/** Shown where a device counted. */
const kCounted: Column<KernelRow, SortKey>[] = [
  {
    key: "coalescing",
    title: "coalesced",
    hint: "128-byte lines of device memory if the bytes of each access lay together, of those asked for",
    number: true,
    cell: (row) => percentOr(row.coalescing),
  },
  {
    key: "conflicts",
    title: "bank conflicts",
    hint: "cycles lost per access of a SIMD-group to threadgroup memory",
    number: true,
    cell: (row) => (Number.isFinite(row.conflicts) ? row.conflicts.toFixed(2) : "-"),
  },
  {
    key: "lanes",
    title: "lanes",
    hint: "share of the lanes that worked in what SIMD-groups issued",
    number: true,
    cell: (row) => percentOr(row.lanes),
  },
];

function Bar(props: { store: Store; chosen: boolean; control: { current: TimeZoom | null } }) {
  const { store, chosen, control } = props;
  const leftOut = store.counters.launchesLeftOut;
  return (
    <div class="lam-toolbar">
      <span class="lam-dim">
        {leftOut > 0 && `${format.count(leftOut)} slices not drawn (sums are exact) · `}
        {chosen ? "kernel selected" : "click a slice or a row"}
      </span>
      {chosen && (
        <button
          type="button"
          class="lam-button"
          onClick={() => {
            store.tab.value = "graph";
          }}
        >
          show in graph
        </button>
      )}
      <span class="lam-grow" />
      {[
        ["Zoom in", "+", 1.6],
        ["Zoom out", "−", 1 / 1.6],
      ].map(([label, sign, factor]) => (
        <button
          key={label}
          type="button"
          class="lam-button"
          aria-label={String(label)}
          onClick={() => control.current?.by(Number(factor), 0)}
        >
          {sign}
        </button>
      ))}
      <button type="button" class="lam-button" onClick={() => control.current?.reset()}>
        all
      </button>
    </div>
  );
}

function isChosen(chosen: Chosen | null, row: KernelRow): boolean {
  return chosen !== null && row.key === chosen;
}

export function LatencyView(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  const state = latencyState(store);
  const [, rerender] = useState(0);
  const control = useRef<TimeZoom | null>(null);
  const chosen = selectedLaunches(store);
  return (
    <div class="lam-latency">
      <Plot store={store} chosen={chosen} control={control} />
      <Bar store={store} chosen={chosen !== null} control={control} />
      <Table
        label="Kernels"
        columns={store.analysis.counters?.length ? [...kColumns, ...kCounted] : kColumns}
        rows={sortRows(kernelRows(store), state.sort.key, state.sort.down)}
        rowKey={(row) => row.key}
        sort={state.sort}
        onSort={(key) => {
          state.sort = { key, down: state.sort.key === key ? !state.sort.down : key !== "name" };
          rerender((n) => n + 1);
        }}
        selected={(row) => isChosen(chosen, row)}
        onPick={(row) => pickLaunch(store, row.plan, row.launch)}
      />
    </div>
  );
}
