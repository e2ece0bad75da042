// A canvas that follows its container's size and the device's pixel ratio, and redraws on the next frame.
import type { ComponentChildren, RefObject } from "preact";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { type Theme, themeOf, watchTheme } from "./theme.ts";

export interface Surface {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  theme: Theme;
}

export interface CanvasHandle {
  ref: RefObject<HTMLCanvasElement | null>;
  redraw: () => void;
}

/** `draw` runs at most once a frame, after `redraw`, a resize or a theme change. */
export function useCanvas(draw: (surface: Surface) => void): CanvasHandle {
  const ref = useRef<HTMLCanvasElement>(null);
  const latest = useRef(draw);
  latest.current = draw;
  const pending = useRef(0);
  const theme = useRef<Theme | null>(null);

  const paint = () => {
    pending.current = 0;
    const canvas = ref.current;
    const context = canvas?.getContext("2d");
    if (!canvas || !context) return;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (width === 0 || height === 0) return;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
    }
    theme.current ??= themeOf(canvas.parentElement ?? canvas);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    latest.current({ context, width, height, theme: theme.current });
  };
  const redraw = useRef(() => {
    if (!pending.current) pending.current = requestAnimationFrame(paint);
  }).current;

  useEffect(() => {
    const observer = new ResizeObserver(redraw);
    if (ref.current) observer.observe(ref.current);
    const unwatch = watchTheme(() => {
      theme.current = null;
      redraw();
    });
    return () => {
      observer.disconnect();
      unwatch();
      cancelAnimationFrame(pending.current);
      pending.current = 0;
    };
  }, []);
  useLayoutEffect(redraw);
  return { ref, redraw };
}

/** Box under the pointer; flips to stay inside its container. */
export function Tooltip(props: {
  at: { x: number; y: number } | null;
  width: number;
  height: number;
  children?: ComponentChildren;
}) {
  if (!props.at) return null;
  const right = props.at.x > props.width / 2;
  const low = props.at.y > props.height / 2;
  const style: Record<string, string> = {
    [right ? "right" : "left"]: `${(right ? props.width - props.at.x : props.at.x) + 12}px`,
    [low ? "bottom" : "top"]: `${(low ? props.height - props.at.y : props.at.y) + 12}px`,
  };
  return (
    <div class="lam-tip" style={style} aria-hidden="true">
      {props.children}
    </div>
  );
}
