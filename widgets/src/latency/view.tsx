// Latency view: timeline above, kernels below.
import { useRef, useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { toValue } from "../shared/scale.ts";
import { type Column, Table } from "../shared/table.tsx";
import { kKindGlyph } from "../shared/theme.ts";
import { useTimeZoom } from "../shared/timezoom.ts";
import { type KernelRow, kernelRows, type SortKey, sortRows } from "./rows.ts";
import { drawTimeline, kLaneHeight, kLaneLabel, kLanes, laneTop, Timeline } from "./timeline.ts";

interface State {
  timeline: Timeline;
  zoom: { k: number; x: number };
  sort: { key: SortKey; down: boolean };
}

function stateOf(store: Store): State {
  let state = store.kept.get("latency") as State | undefined;
  if (!state) {
    state = {
      timeline: new Timeline(store),
      zoom: { k: 1, x: 0 },
      sort: { key: "total", down: true },
    };
    store.kept.set("latency", state);
  }
  return state;
}

/** Launches of the selected kernel. */
function selectedLaunches(store: Store): { plan: number; launches: ReadonlySet<number> } | null {
  const selection = store.selection.value;
  const plan = store.plan.value;
  const index = store.plans.get(plan);
  if (!index) return null;
  let group = selection.what === "group" ? index.groups.get(selection.group) : undefined;
  if (selection.what === "node") group = index.groupOf(selection.node) ?? undefined;
  return group ? { plan, launches: new Set([group.launch]) } : null;
}

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

export function LatencyView(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  const state = stateOf(store);
  const { timeline } = state;
  timeline.update();
  const [, rerender] = useState(0);
  const [hover, setHover] = useState<{ x: number; y: number; lane: number; index: number } | null>(
    null,
  );
  const selected = selectedLaunches(store);
  const range = timeline.range();
  const zoomRef = useRef<ReturnType<typeof useTimeZoom> | null>(null);
  const canvas = useCanvas((surface) => {
    const axis = zoomRef.current?.axis(range, surface.width - kLaneLabel);
    if (axis) drawTimeline({ ...surface, timeline, axis, selected, hover });
  });
  const zoom = useTimeZoom(canvas.ref, state.zoom, kLaneLabel, canvas.redraw);
  zoomRef.current = zoom;
  const pick = (plan: number, launch: number) => {
    const group = store.plans.get(plan)?.launchGroups(launch)[0];
    if (group) store.showGroup(plan, group.id);
  };
  const at = (event: MouseEvent) => {
    const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const lane = kLanes.findIndex((_, i) => y >= laneTop(i) && y <= laneTop(i) + kLaneHeight);
    if (lane < 0 || x < kLaneLabel) return null;
    const axis = zoom.axis(range, bounds.width - kLaneLabel);
    const t = toValue(axis, x - kLaneLabel);
    const reach = (axis.to - axis.from) / axis.pixels;
    const hit = timeline
      .marks(lane, axis)
      .find((mark) => mark.index >= 0 && mark.t0 - reach <= t && mark.t1 + reach >= t);
    return hit ? { x, y, lane, index: hit.index } : null;
  };
  const rows = sortRows(kernelRows(store), state.sort.key, state.sort.down);
  const info = hover ? timeline.info(hover.lane, hover.index) : null;
  return (
    <div class="lam-latency">
      <div class="lam-stage lam-timeline">
        <canvas
          ref={canvas.ref}
          class="lam-canvas"
          style={{ height: `${laneTop(kLanes.length)}px` }}
          tabIndex={0}
          role="img"
          aria-label={`Timeline of ${format.count(store.runs.length)} evaluations. Plus and minus zoom, arrow keys move, 0 shows all. The table below has the figures.`}
          onMouseMove={(event) => setHover(event.buttons ? null : at(event))}
          onMouseLeave={() => setHover(null)}
          onClick={(event) => {
            const hit = at(event);
            const slice = hit && timeline.info(hit.lane, hit.index);
            if (slice && slice.launch >= 0) pick(slice.plan, slice.launch);
            else if (slice && slice.plan >= 0) store.choosePlan(slice.plan);
            else store.selection.value = { what: "none" };
          }}
          onKeyDown={(event) => {
            const moves: Record<string, [number, number]> = {
              "+": [1.5, 0],
              "=": [1.5, 0],
              "-": [1 / 1.5, 0],
              ArrowLeft: [1, 80],
              ArrowRight: [1, -80],
            };
            const move = moves[event.key];
            if (event.key === "0") zoom.reset();
            else if (move) zoom.by(...move);
            else return;
            event.preventDefault();
            event.stopPropagation();
          }}
        />
        <Tooltip
          at={hover}
          width={canvas.ref.current?.clientWidth ?? 600}
          height={laneTop(kLanes.length)}
        >
          {info && (
            <>
              <strong>
                {info.glyph} {info.title}
              </strong>
              <div>{format.time(info.t1 - info.t0)}</div>
              {info.lines.map((line) => (
                <div key={line}>{line}</div>
              ))}
              <div class="lam-dim">
                {info.launch >= 0
                  ? "click: show this kernel in the table and the graph"
                  : "click: show this plan"}
              </div>
            </>
          )}
        </Tooltip>
      </div>
      <div class="lam-toolbar">
        <span class="lam-dim">
          {store.counters.launchesLeftOut > 0 &&
            `${format.count(store.counters.launchesLeftOut)} slices not drawn (sums are exact) · `}
          {selected ? "kernel selected" : "click a slice or a row"}
        </span>
        {selected && (
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
        <button
          type="button"
          class="lam-button"
          onClick={() => zoom.by(1.6, 0)}
          aria-label="Zoom in"
        >
          +
        </button>
        <button
          type="button"
          class="lam-button"
          onClick={() => zoom.by(1 / 1.6, 0)}
          aria-label="Zoom out"
        >
          −
        </button>
        <button type="button" class="lam-button" onClick={zoom.reset}>
          all
        </button>
      </div>
      <Table
        label="Kernels"
        columns={kColumns}
        rows={rows}
        rowKey={(row) => row.key}
        sort={state.sort}
        onSort={(key) => {
          state.sort = { key, down: state.sort.key === key ? !state.sort.down : key !== "name" };
          rerender((n) => n + 1);
        }}
        selected={(row) =>
          selected !== null && row.plan === selected.plan && selected.launches.has(row.launch)
        }
        onPick={(row) => pick(row.plan, row.launch)}
      />
    </div>
  );
}
