// The timeline canvas: pointer, keyboard, tooltip.
import { useRef, useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { type Axis, toValue } from "../shared/scale.ts";
import { type TimeZoom, useTimeZoom } from "../shared/timezoom.ts";
import { type Chosen, latencyState, pickLaunch } from "./state.ts";
import {
  drawTimeline,
  kLaneHeight,
  kLaneLabel,
  laneTop,
  type SliceInfo,
  type Timeline,
} from "./timeline.ts";

interface Hit {
  x: number;
  y: number;
  lane: number;
  index: number;
}

function hitAt(timeline: Timeline, axis: Axis, event: MouseEvent): Hit | null {
  const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
  const [x, y] = [event.clientX - bounds.left, event.clientY - bounds.top];
  const lane = timeline.lanes.findIndex((_, i) => y >= laneTop(i) && y <= laneTop(i) + kLaneHeight);
  if (lane < 0 || x < kLaneLabel) return null;
  const t = toValue(axis, x - kLaneLabel);
  // Slices thinner than a pixel can still be hit.
  const reach = (axis.to - axis.from) / axis.pixels;
  const hit = timeline
    .marks(lane, axis)
    .find((mark) => mark.index >= 0 && mark.t0 - reach <= t && mark.t1 + reach >= t);
  return hit ? { x, y, lane, index: hit.index } : null;
}

function pickSlice(store: Store, slice: SliceInfo | null): void {
  if (slice && slice.launch >= 0) pickLaunch(store, slice.plan, slice.launch);
  else if (slice && slice.plan >= 0) store.choosePlan(slice.plan);
  else store.selection.value = { what: "none" };
}

const kMoves: Record<string, [number, number]> = {
  "+": [1.5, 0],
  "=": [1.5, 0],
  "-": [1 / 1.5, 0],
  ArrowLeft: [1, 80],
  ArrowRight: [1, -80],
};

function keyHandler(zoom: TimeZoom) {
  return (event: KeyboardEvent) => {
    const move = kMoves[event.key];
    if (event.key === "0") zoom.reset();
    else if (move) zoom.by(...move);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
}

function SliceTip(props: { info: SliceInfo }) {
  const { info } = props;
  return (
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
  );
}

export function Plot(props: {
  store: Store;
  chosen: Chosen | null;
  control: { current: TimeZoom | null };
}) {
  const { store, chosen, control } = props;
  const { timeline, zoom: kept } = latencyState(store);
  timeline.update();
  const range = timeline.range();
  const [hover, setHover] = useState<Hit | null>(null);
  const zoomRef = useRef<TimeZoom | null>(null);
  const canvas = useCanvas((surface) => {
    const axis = zoomRef.current?.axis(range, surface.width - kLaneLabel);
    if (axis) drawTimeline({ ...surface, timeline, axis, selected: chosen, hover });
  });
  const zoom = useTimeZoom(canvas.ref, kept, kLaneLabel, canvas.redraw);
  zoomRef.current = zoom;
  control.current = zoom;
  const width = canvas.ref.current?.clientWidth ?? 600;
  const hit = (event: MouseEvent) => hitAt(timeline, zoom.axis(range, width - kLaneLabel), event);
  const height = laneTop(timeline.lanes.length);
  return (
    <div class="lam-stage lam-timeline">
      <canvas
        ref={canvas.ref}
        class="lam-canvas"
        style={{ height: `${height}px` }}
        tabIndex={0}
        role="img"
        aria-label={`Timeline of ${format.count(store.runs.length)} evaluations. Plus and minus zoom, arrow keys move, 0 shows all. The table below has the figures.`}
        onMouseMove={(event) => setHover(event.buttons ? null : hit(event))}
        onMouseLeave={() => setHover(null)}
        onClick={(event) => {
          const found = hit(event);
          pickSlice(store, found && timeline.info(found.lane, found.index));
        }}
        onKeyDown={keyHandler(zoom)}
      />
      <Tooltip at={hover} width={width} height={height}>
        {hover && <SliceTip info={timeline.info(hover.lane, hover.index)} />}
      </Tooltip>
    </div>
  );
}
