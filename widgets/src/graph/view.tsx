// Graph and fusion view: canvas, toolbar, keyboard, explanation.
import { useEffect, useRef, useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { type CameraControl, useCamera } from "./camera.ts";
import type { Camera } from "./draw.ts";
import { moveFocus } from "./keys.ts";
import { Panel } from "./panel.tsx";
import { type Hover, hitAt, paint, selectBox, selectLine } from "./select.ts";
import { type Built, type GraphState, graphState } from "./state.ts";
import { BoxTip, Legend, LineTip } from "./tips.tsx";
import { Toolbar } from "./toolbar.tsx";

function keyHandler(state: GraphState, built: Built, camera: CameraControl, redraw: () => void) {
  const { store } = state;
  return (event: KeyboardEvent) => {
    const step = moveFocus(event, state, built);
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    if (step.what === "fit") camera.fit();
    if (step.what === "focus") {
      state.focus.value = step.item;
      const { title, kind, size } = built.tree.items[step.item];
      store.announcement.value = `${title}, ${kind}${size > 1 ? `, ${size} operations` : ""}`;
      camera.show(step.item);
    }
    if (step.what === "select") {
      const box = built.scene.boxes[built.scene.boxOfItem.get(state.focus.value) ?? -1];
      if (box) selectBox(state, box);
    }
    if (step.what === "edge") {
      selectLine(state, built, built.scene.lines[step.line]);
      store.announcement.value = `edge ${step.text}`;
    }
    redraw();
  };
}

function pointerHandlers(state: GraphState, built: Built, setHover: (hover: Hover | null) => void) {
  return {
    onMouseMove: (event: MouseEvent) => {
      if (event.buttons) return setHover(null);
      const { px, py, box, line } = hitAt(state, built, event);
      const item = box < 0 ? -1 : built.scene.boxes[box].item.id;
      setHover(item < 0 && line < 0 ? null : { x: px, y: py, item, line });
    },
    onMouseLeave: () => setHover(null),
    onClick: (event: MouseEvent) => {
      const { box, line } = hitAt(state, built, event);
      if (box >= 0) selectBox(state, built.scene.boxes[box]);
      else if (line >= 0) selectLine(state, built, built.scene.lines[line]);
      else state.store.selection.value = { what: "none" };
    },
    onDblClick: (event: MouseEvent) => {
      const box = built.scene.boxes[hitAt(state, built, event).box];
      if (box && box.item.node < 0) state.toggle(box.item.key);
    },
  };
}

/** The canvas; mounted only once there is a scene. */
function Stage(props: {
  state: GraphState;
  built: Built;
  control: { current: CameraControl | null };
}) {
  const { state, built } = props;
  const { store } = state;
  const [hover, setHover] = useState<Hover | null>(null);
  const focused = useRef(false);
  const canvas = useCanvas((surface) => paint(surface, state, built, hover, focused.current));
  const camera = useCamera(state, built, canvas.ref, canvas.redraw);
  props.control.current = camera;
  const place = `${store.epoch}:${store.plan.value}:${state.nesting.value}:${state.views.value}`;
  // The whole layout moves boxes: who has not moved the camera meanwhile sees its beginning.
  const untouched = useRef<Camera | null>(null);
  useEffect(() => {
    const moved = state.camera !== untouched.current;
    if (state.fitted === place && (built.draft || !untouched.current || moved)) camera.restore();
    else camera.start();
    untouched.current = built.draft ? state.camera : null;
    state.fitted = place;
  }, [place, built.draft]);
  const selection = store.selection.value;
  // A selection made elsewhere (panel, other view) is brought into sight.
  useEffect(() => {
    const [first] = state.selectedItems(selection);
    if (first !== undefined) camera.show(first);
  }, [selection]);
  const focus = (value: boolean) => () => {
    focused.current = value;
    canvas.redraw();
  };
  const element = canvas.ref.current;
  return (
    <div class="lam-stage">
      <canvas
        ref={canvas.ref}
        class="lam-canvas"
        tabIndex={0}
        role="application"
        aria-label={`Graph of ${built.index.plan.nodes.length} operations. Arrow keys follow edges, Enter explains, Space opens a group, E goes through the edges, 0 fits.`}
        {...pointerHandlers(state, built, setHover)}
        onFocus={focus(true)}
        onBlur={focus(false)}
        onKeyDown={keyHandler(state, built, camera, canvas.redraw)}
      />
      <Tooltip at={hover} width={element?.clientWidth ?? 600} height={element?.clientHeight ?? 360}>
        {hover && hover.item >= 0 && <BoxTip state={state} built={built} item={hover.item} />}
        {hover && hover.item < 0 && <LineTip state={state} built={built} line={hover.line} />}
      </Tooltip>
    </div>
  );
}

export function GraphView(props: { store: Store }) {
  const { store } = props;
  const state = graphState(store);
  const built = state.built.value;
  const control = useRef<CameraControl | null>(null);
  if (!built) return <div class="lam-empty">Waiting for the first evaluation.</div>;
  return (
    <div class="lam-graph">
      <Toolbar
        state={state}
        fit={() => control.current?.fit()}
        zoomBy={(factor) => control.current?.by(factor)}
      />
      <div class="lam-split">
        <div class="lam-left">
          <Stage state={state} built={built} control={control} />
          <div class="lam-foot">
            <Legend state={state} built={built} />
            {built.draft && (
              <span class="lam-dim">
                laying out {format.count(built.index.plan.nodes.length)} operations…
              </span>
            )}
          </div>
        </div>
        <Panel store={store} />
      </div>
    </div>
  );
}
