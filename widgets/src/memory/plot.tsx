// The plot: bytes over time, cursor, pinned moment.
import { useRef, useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { toValue } from "../shared/scale.ts";
import { type TimeZoom, useTimeZoom } from "../shared/timezoom.ts";
import { categoryColor, drawMemory, kLeft, patternOf, stackOrder } from "./draw.ts";
import { rowAt, type Series } from "./series.ts";
import { memoryState, type Prediction, timeRange } from "./state.ts";

export function Bands(props: { series: Series; at: number | null }) {
  const { series } = props;
  const row = props.at === null ? series.length - 1 : rowAt(series, props.at);
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

function keyHandler(store: Store, series: Series, zoom: TimeZoom) {
  const { pinned } = memoryState(store);
  const step = (by: number) => {
    const row = rowAt(series, pinned.value ?? series.peak.t);
    const next = Math.min(series.length - 1, Math.max(0, row + by));
    pinned.value = series.t[next] ?? null;
    store.announcement.value = `${format.time(series.t[next])}: ${format.bytes(series.total[next])} live`;
  };
  return (event: KeyboardEvent) => {
    if (event.key === "ArrowRight") step(1);
    else if (event.key === "ArrowLeft") step(-1);
    else if (event.key === "p" || event.key === "Escape") pinned.value = null;
    else if (event.key === "+" || event.key === "=") zoom.by(1.5, 0);
    else if (event.key === "-") zoom.by(1 / 1.5, 0);
    else if (event.key === "0") zoom.reset();
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}

export function Plot(props: {
  store: Store;
  series: Series;
  predicted: Prediction[];
  control: { current: TimeZoom | null };
}) {
  const { store, series, predicted, control } = props;
  const state = memoryState(store);
  const [cursor, setCursor] = useState<{ x: number; y: number; t: number } | null>(null);
  const pinned = state.pinned.value;
  const range = timeRange(store, series);
  const most = predicted.reduce((highest, span) => Math.max(highest, span.bytes), 1);
  const top = Math.max(series.peak.bytes, most) * 1.06;
  const zoomRef = useRef<TimeZoom | null>(null);
  const canvas = useCanvas((surface) => {
    const axis = zoomRef.current?.axis(range, surface.width - kLeft);
    const at = cursor?.t ?? null;
    if (axis) drawMemory({ ...surface, series, axis, predicted, top, cursor: at, pinned });
  });
  const zoom = useTimeZoom(canvas.ref, state.zoom, kLeft, canvas.redraw);
  zoomRef.current = zoom;
  control.current = zoom;
  const moment = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (x < kLeft) return null;
    return { x, y, t: toValue(zoom.axis(range, box.width - kLeft), x - kLeft) };
  };
  const element = canvas.ref.current;
  return (
    <div class="lam-stage lam-plot">
      <canvas
        ref={canvas.ref}
        class="lam-canvas"
        tabIndex={0}
        role="img"
        aria-label={`Live memory over time, peak ${format.bytes(series.peak.bytes)}. Arrow keys move through the moments, P goes to the peak, plus and minus zoom. The table has the buffers.`}
        onMouseMove={(event) => setCursor(event.buttons ? null : moment(event))}
        onMouseLeave={() => setCursor(null)}
        onClick={(event) => {
          state.pinned.value = moment(event)?.t ?? null;
        }}
        onKeyDown={keyHandler(store, series, zoom)}
      />
      <Tooltip
        at={cursor}
        width={element?.clientWidth ?? 600}
        height={element?.clientHeight ?? 160}
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
  );
}
