// Zoom and pan along time, shared by the memory and the latency view.
import { select } from "d3-selection";
import { type D3ZoomEvent, zoom, zoomIdentity } from "d3-zoom";
import type { RefObject } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { Axis } from "./scale.ts";

export interface TimeZoom {
  axis: (range: [number, number], pixels: number) => Axis;
  reset: () => void;
  by: (factor: number, shift: number) => void;
  zoomed: () => boolean;
}

/** The plain wheel scrolls the page; it zooms with Ctrl, or once the canvas has focus. */
export function wheelAllowed(element: Element, event: Event): boolean {
  if (event instanceof WheelEvent) {
    const root = element.getRootNode() as Document | ShadowRoot;
    return event.ctrlKey || event.metaKey || root.activeElement === element;
  }
  return event.type !== "dblclick" && !(event as MouseEvent).button;
}

/** `kept` holds the transform, so that it outlives the view; `left` is where the plot begins. */
export function useTimeZoom(
  canvas: RefObject<HTMLCanvasElement | null>,
  kept: { k: number; x: number },
  left: number,
  redraw: () => void,
): TimeZoom {
  const apply = useRef<(x: number, k: number) => void>(() => undefined);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const width = () => Math.max(1, element.clientWidth - left);
    const zooming = zoom<HTMLCanvasElement, unknown>()
      .scaleExtent([1, 1e7])
      .clickDistance(4)
      .extent(() => [
        [left, 0],
        [left + width(), 1],
      ])
      .translateExtent([
        [left, 0],
        [left + width(), 1],
      ])
      .filter((event: Event) => wheelAllowed(element, event))
      .on("zoom", (event: D3ZoomEvent<HTMLCanvasElement, unknown>) => {
        kept.k = event.transform.k;
        kept.x = event.transform.x;
        redraw();
      });
    const selection = select(element);
    selection.call(zooming).on("dblclick.zoom", null);
    apply.current = (x, k) =>
      selection.call(zooming.transform, zoomIdentity.translate(x, 0).scale(k));
    const resize = new ResizeObserver(() =>
      zooming.translateExtent([
        [left, 0],
        [left + width(), 1],
      ]),
    );
    resize.observe(element);
    apply.current(kept.x, kept.k);
    return () => {
      resize.disconnect();
      selection.on(".zoom", null);
    };
  }, []);
  return {
    axis: ([from, to], pixels) => {
      const span = to - from;
      const at = (pixel: number) =>
        from + (((pixel + left - kept.x) / kept.k - left) / pixels) * span;
      return { from: at(0), to: at(pixels), pixels };
    },
    reset: () => apply.current(0, 1),
    by: (factor, shift) => {
      const element = canvas.current;
      const middle = left + ((element?.clientWidth ?? 600) - left) / 2;
      const k = Math.max(1, kept.k * factor);
      apply.current(middle - ((middle - kept.x) * k) / kept.k + shift, k);
    },
    zoomed: () => kept.k > 1.001,
  };
}
