// Zoom, pan, and bringing things into sight.
import { select } from "d3-selection";
import { type D3ZoomEvent, type ZoomBehavior, zoom, zoomIdentity } from "d3-zoom";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { wheelAllowed } from "../shared/timezoom.ts";
import type { Built, GraphState } from "./state.ts";

const kMinZoom = 0.004;
const kMaxZoom = 3;
const kReadable = 0.62;

export interface CameraControl {
  /** Whole scene in sight. */
  fit: () => void;
  /** First sight of a scene: as large as readable, from the top. */
  start: () => void;
  /** Where the user left it. */
  restore: () => void;
  by: (factor: number) => void;
  /** Moves only when the item is out of sight. */
  show: (item: number) => void;
}

type Move = (x: number, y: number, k: number) => void;

/** d3-zoom on the canvas; the plain wheel scrolls the page unless the canvas has focus. */
function useZoom(
  state: GraphState,
  canvas: RefObject<HTMLCanvasElement | null>,
  redraw: () => void,
): Move {
  const behavior = useRef<ZoomBehavior<HTMLCanvasElement, unknown> | null>(null);
  const move: Move = (x, y, k) => {
    const element = canvas.current;
    if (!element || !behavior.current) return;
    select(element).call(behavior.current.transform, zoomIdentity.translate(x, y).scale(k));
  };
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const zooming = zoom<HTMLCanvasElement, unknown>()
      .scaleExtent([kMinZoom, kMaxZoom])
      .clickDistance(4)
      .filter((event: Event) => wheelAllowed(element, event))
      .on("zoom", (event: D3ZoomEvent<HTMLCanvasElement, unknown>) => {
        const { x, y, k } = event.transform;
        state.camera = { x, y, k };
        redraw();
      });
    behavior.current = zooming;
    select(element).call(zooming).on("dblclick.zoom", null);
    let wide = element.clientWidth;
    const resize = new ResizeObserver(() => {
      const shift = (element.clientWidth - wide) / 2;
      wide = element.clientWidth;
      if (shift) move(state.camera.x + shift, state.camera.y, state.camera.k);
    });
    resize.observe(element);
    return () => {
      resize.disconnect();
      select(element).on(".zoom", null);
    };
  }, []);
  return move;
}

const kMargin = 16;

/** Keeps a scene larger than the canvas from leaving empty room at its edges. */
function held(at: number, k: number, extent: number, room: number): number {
  if (extent * k + 2 * kMargin <= room) return (room - extent * k) / 2;
  return Math.min(kMargin, Math.max(room - kMargin - extent * k, at));
}

function fitted(built: Built, width: number, height: number, least: number): Parameters<Move> {
  const { scene } = built;
  const whole = Math.min(
    (width - 2 * kMargin) / (scene.width || 1),
    (height - 2 * kMargin) / (scene.height || 1),
  );
  const k = Math.max(least, Math.min(1, whole));
  // Where not all can be seen, begin with what comes first.
  let first = scene.boxes[0];
  for (const box of scene.boxes) if (!box.open && box.y < first.y) first = box;
  const middle = first ? first.x + first.w / 2 : scene.width / 2;
  return [
    held(width / 2 - middle * k, k, scene.width, width),
    held(kMargin, k, scene.height, height),
    k,
  ];
}

export function useCamera(
  state: GraphState,
  built: Built,
  canvas: RefObject<HTMLCanvasElement | null>,
  redraw: () => void,
): CameraControl {
  const move = useZoom(state, canvas, redraw);
  const size = (): [number, number] => [
    canvas.current?.clientWidth || 600,
    canvas.current?.clientHeight || 360,
  ];
  return {
    fit: () => move(...fitted(built, ...size(), kMinZoom)),
    start: () => move(...fitted(built, ...size(), kReadable)),
    restore: () => move(state.camera.x, state.camera.y, state.camera.k),
    by: (factor) => {
      const [cx, cy] = size().map((value) => value / 2);
      const { x, y, k } = state.camera;
      const next = Math.min(kMaxZoom, Math.max(kMinZoom, k * factor));
      move(cx - ((cx - x) * next) / k, cy - ((cy - y) * next) / k, next);
    },
    show: (item) => {
      const box = built.scene.boxes[built.scene.boxOfItem.get(item) ?? -1];
      if (!box) return;
      const [width, height] = size();
      const k = Math.max(state.camera.k, 0.5);
      const [x, y] = [box.x + box.w / 2, box.y + Math.min(box.h / 2, height / 2 / k)];
      const [sx, sy] = [x * state.camera.k + state.camera.x, y * state.camera.k + state.camera.y];
      const outside = sx < 40 || sy < 30 || sx > width - 40 || sy > height - 30;
      if (!outside && k === state.camera.k) return;
      const { scene } = built;
      const left = held(width / 2 - x * k, k, scene.width, width);
      move(left, held(height / 2 - y * k, k, scene.height, height), k);
    },
  };
}
