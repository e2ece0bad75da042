// Graph and fusion view: canvas, toolbar, keyboard.

import { select as d3select } from "d3-selection";
import { type D3ZoomEvent, type ZoomBehavior, zoom, zoomIdentity } from "d3-zoom";
import { useEffect, useRef, useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { kKindColor, kKindGlyph } from "../shared/theme.ts";
import { drawScene } from "./draw.ts";
import { moveFocus } from "./keys.ts";
import { Panel } from "./panel.tsx";
import type { Box, Line } from "./scene.ts";
import { type Built, type GraphState, graphState } from "./state.ts";

const kMinZoom = 0.03;
const kMaxZoom = 3;
const kReadable = 0.62;

interface Hover {
  x: number;
  y: number;
  item: number;
  line: number;
}

function selectBox(state: GraphState, box: Box): void {
  const { item } = box;
  state.focus.value = item.id;
  if (item.node >= 0) state.store.selection.value = { what: "node", node: item.node };
  else if (item.group >= 0) state.store.selection.value = { what: "group", group: item.group };
  else state.store.selection.value = { what: "module", path: item.key };
}

function selectLine(state: GraphState, built: Built, line: Line): void {
  const title = (id: number) => built.tree.items[id].title;
  state.store.selection.value = {
    what: "edge",
    edges: line.edges,
    src: title(line.src),
    dst: title(line.dst),
  };
}

function lineOfSelection(state: GraphState, built: Built): number {
  const selection = state.store.selection.value;
  if (selection.what !== "edge") return -1;
  const wanted = selection.edges[0];
  return built.scene.lines.findIndex((line) => line.edges.includes(wanted));
}

function BoxTip(props: { state: GraphState; built: Built; item: number }) {
  const { state, built } = props;
  const item = built.tree.items[props.item];
  const { store } = state;
  if (item.node < 0) {
    const group = built.index.groups.get(item.group);
    return (
      <>
        <strong>{item.title}</strong>
        <div>{item.size} operations</div>
        {group ? (
          <div>
            {group.kind} kernel · reads {format.bytes(group.reads)} · writes{" "}
            {format.bytes(group.writes)} · {format.count(group.flops)} flop
          </div>
        ) : (
          <div>
            {format.bytes(item.bytes)} · {format.count(item.flops)} flop
          </div>
        )}
        <div class="lam-dim">
          click: explain · double-click:{" "}
          {state.openKeys(built.tree).has(item.key) ? "close" : "open"}
        </div>
      </>
    );
  }
  const node = built.index.nodes.get(item.node);
  if (!node) return null;
  const origin = store.originOf(store.plan.value, node.id);
  return (
    <>
      <strong>
        {kKindGlyph[node.kind]} {node.op}
      </strong>
      <div>
        {format.shape(node.shape)} {node.dtype} · {format.bytes(node.bytes)} ·{" "}
        {format.count(node.flops)} flop
      </div>
      {origin?.file && (
        <div>
          {format.shortFile(origin.file)}:{origin.line} in {origin.function || "?"}
        </div>
      )}
      {origin?.module && (
        <div>
          module {origin.module}
          {origin.phase && ` (${origin.phase})`}
        </div>
      )}
      {built.index.groupOf(node.id) && (
        <div class="lam-dim">kernel {built.index.groupOf(node.id)?.label}</div>
      )}
    </>
  );
}

function LineTip(props: { state: GraphState; built: Built; line: number }) {
  const line = props.built.scene.lines[props.line];
  if (!line) return null;
  const { plan } = props.built.index;
  const worst = line.edges
    .map((i) => plan.edges[i])
    .filter((edge) => !edge.fused)
    .sort((a, b) => b.bytes - a.bytes)[0];
  return (
    <>
      <strong>
        {line.fused > 0 && `${line.fused} fused`}
        {line.fused > 0 && line.unfused > 0 && ", "}
        {line.unfused > 0 && `${line.unfused} not fused, ${format.bytes(line.bytes)}`}
      </strong>
      {worst && <div>{props.state.store.reason(worst.reason)}</div>}
      <div class="lam-dim">click: explain</div>
    </>
  );
}

function Legend(props: { state: GraphState; built: Built }) {
  const { state, built } = props;
  const kinds = [...new Set(built.scene.boxes.map((box) => box.item.kind))].filter(
    (kind) => kKindGlyph[kind],
  );
  if (state.coloring.value !== "kind")
    return <span class="lam-dim">glyph = kind, colour = {state.coloring.value}</span>;
  return (
    <ul class="lam-legend" aria-label="Legend">
      {kinds.map((kind) => (
        <li key={kind}>
          <i style={{ background: kKindColor[kind] }} />
          {kKindGlyph[kind]} {kind}
        </li>
      ))}
      <li>∂ backward</li>
      <li>
        <i class="lam-dash" /> not fused
      </li>
    </ul>
  );
}

function PlanPicker(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  if (store.plans.size < 2) return null;
  const rows = [...store.plans.values()].map(({ plan }) => {
    const runs = store.runsOfPlan.get(plan.plan);
    return {
      id: plan.plan,
      text: `plan ${plan.plan}: ${plan.nodes.length} ops, ${runs?.count ?? 0} runs`,
      ns: runs?.ns ?? 0,
    };
  });
  rows.sort((a, b) => b.ns - a.ns);
  return (
    <select
      aria-label="Plan"
      value={store.plan.value}
      onChange={(event) => store.choosePlan(Number((event.target as HTMLSelectElement).value))}
    >
      {rows.map((row) => (
        <option key={row.id} value={row.id} selected={row.id === store.plan.value}>
          {row.text}
        </option>
      ))}
    </select>
  );
}

function Toolbar(props: { state: GraphState; fit: () => void; zoomBy: (factor: number) => void }) {
  const { state } = props;
  return (
    <div class="lam-toolbar" role="toolbar" aria-label="Graph">
      <PlanPicker store={state.store} />
      <fieldset class="lam-seg" aria-label="Nest by">
        {(["module", "kernel"] as const).map((nesting) => (
          <button
            key={nesting}
            type="button"
            aria-pressed={state.nesting.value === nesting}
            onClick={() => {
              state.nesting.value = nesting;
            }}
          >
            by {nesting}
          </button>
        ))}
      </fieldset>
      <label>
        colour{" "}
        <select
          value={state.coloring.value}
          onChange={(event) => {
            state.coloring.value = (event.target as HTMLSelectElement).value as "kind";
          }}
        >
          <option value="kind">kind</option>
          <option value="category">memory category</option>
          <option value="bytes">bytes</option>
        </select>
      </label>
      <label title="Views cost nothing and are folded into edges unless shown">
        <input
          type="checkbox"
          checked={state.views.value}
          onChange={(event) => {
            state.views.value = (event.target as HTMLInputElement).checked;
          }}
        />{" "}
        views
      </label>
      <button
        type="button"
        class="lam-button"
        onClick={() => state.setAll(true)}
        title="Open all groups"
      >
        ⊞
      </button>
      <button
        type="button"
        class="lam-button"
        onClick={() => state.setAll(false)}
        title="Close all groups"
      >
        ⊟
      </button>
      <button
        type="button"
        class="lam-button"
        onClick={() => props.zoomBy(1.4)}
        aria-label="Zoom in"
      >
        +
      </button>
      <button
        type="button"
        class="lam-button"
        onClick={() => props.zoomBy(1 / 1.4)}
        aria-label="Zoom out"
      >
        −
      </button>
      <button type="button" class="lam-button" onClick={props.fit}>
        fit
      </button>
      <input
        type="search"
        class="lam-search"
        placeholder="search op, line, module"
        aria-label="Search operations"
        value={state.search.value}
        onInput={(event) => {
          state.search.value = (event.target as HTMLInputElement).value;
          state.store.selection.value = { what: "none" };
        }}
      />
    </div>
  );
}

/** Zoom and pan by d3-zoom; the plain wheel scrolls the page unless the canvas has focus. */
function useZoom(
  state: GraphState,
  canvas: { current: HTMLCanvasElement | null },
  redraw: () => void,
) {
  const behavior = useRef<ZoomBehavior<HTMLCanvasElement, unknown> | null>(null);
  useEffect(() => {
    const element = canvas.current;
    if (!element) return;
    const zooming = zoom<HTMLCanvasElement, unknown>()
      .scaleExtent([kMinZoom, kMaxZoom])
      .clickDistance(4)
      .filter((event: Event) => {
        if (event instanceof WheelEvent)
          return (
            event.ctrlKey ||
            event.metaKey ||
            document.activeElement === element ||
            (element.getRootNode() !== document &&
              (element.getRootNode() as ShadowRoot).activeElement === element)
          );
        return event.type !== "dblclick" && !(event as MouseEvent).button;
      })
      .on("zoom", (event: D3ZoomEvent<HTMLCanvasElement, unknown>) => {
        const { x, y, k } = event.transform;
        state.camera = { x, y, k };
        redraw();
      });
    behavior.current = zooming;
    d3select(element).call(zooming).on("dblclick.zoom", null);
    return () => {
      d3select(element).on(".zoom", null);
    };
  }, []);
  return (x: number, y: number, k: number) => {
    const element = canvas.current;
    if (!element || !behavior.current) return;
    d3select(element).call(behavior.current.transform, zoomIdentity.translate(x, y).scale(k));
  };
}

function fitTo(
  built: Built,
  width: number,
  height: number,
  least: number,
): [number, number, number] {
  const { scene } = built;
  const margin = 16;
  const whole = Math.min(
    (width - 2 * margin) / (scene.width || 1),
    (height - 2 * margin) / (scene.height || 1),
  );
  const k = Math.max(least, Math.min(1, whole));
  const x = (width - scene.width * k) / 2;
  const y = scene.height * k < height ? (height - scene.height * k) / 2 : margin;
  return [x, y, k];
}

export function GraphView(props: { store: Store }) {
  const { store } = props;
  const state = graphState(store);
  const built = state.built.value;
  const [hover, setHover] = useState<Hover | null>(null);
  const selection = store.selection.value;
  const selected = state.selectedItems(selection);
  const found = new Set<number>();
  if (built && state.search.value.trim()) {
    for (const node of state.matches(state.search.value)) {
      let at = built.tree.itemOfNode.get(node) ?? -1;
      while (at > 0 && !built.scene.boxOfItem.has(at)) at = built.tree.items[at].parent;
      if (at > 0) found.add(at);
    }
  }
  const canvas = useCanvas((surface) => {
    if (!built) return;
    drawScene({
      ...surface,
      scene: built.scene,
      picks: built.picks,
      camera: state.camera,
      coloring: state.coloring.value,
      index: built.index,
      maxBytes: built.maxBytes,
      marks: {
        focus: document.activeElement?.contains(canvas.ref.current) ? state.focus.value : -1,
        selected,
        found,
        paired: state.pairedItems(selected),
        line: lineOfSelection(state, built),
        hoverItem: hover?.item ?? -1,
        hoverLine: hover?.line ?? -1,
      },
    });
  });
  const setCamera = useZoom(state, canvas.ref, canvas.redraw);
  const size = () =>
    [canvas.ref.current?.clientWidth ?? 600, canvas.ref.current?.clientHeight ?? 360] as const;
  const scenePlace = `${store.epoch}:${store.plan.value}:${state.nesting.value}:${state.views.value}`;
  useEffect(() => {
    if (!built) return;
    if (state.fitted === scenePlace) setCamera(state.camera.x, state.camera.y, state.camera.k);
    else {
      setCamera(...fitTo(built, ...size(), kReadable));
      state.fitted = scenePlace;
    }
  }, [scenePlace, built === null]);
  const centre = (item: number) => {
    const box = built?.scene.boxes[built.scene.boxOfItem.get(item) ?? -1];
    if (!box) return;
    const [width, height] = size();
    const k = Math.max(state.camera.k, 0.5);
    const [x, y] = [box.x + box.w / 2, box.y + Math.min(box.h / 2, height / 2 / k)];
    const [sx, sy] = [x * state.camera.k + state.camera.x, y * state.camera.k + state.camera.y];
    const outside = sx < 40 || sy < 30 || sx > width - 40 || sy > height - 30;
    if (outside || k !== state.camera.k) setCamera(width / 2 - x * k, height / 2 - y * k, k);
  };
  // A selection made elsewhere (panel, other view) is brought into sight.
  useEffect(() => {
    const [first] = selected;
    if (first !== undefined) centre(first);
  }, [selection]);
  if (!built) return <div class="lam-empty">Waiting for the first evaluation.</div>;
  const at = (event: MouseEvent) => {
    const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
    const { x, y, k } = state.camera;
    const [sx, sy] = [(px - x) / k, (py - y) / k];
    const box = built.picks.boxAt(sx, sy);
    const line = box < 0 ? built.picks.lineAt(sx, sy, 7 / k) : -1;
    return { px, py, box, line };
  };
  const focusText = (item: number) => {
    const found = built.tree.items[item];
    return found
      ? `${found.title}, ${found.kind}${found.size > 1 ? `, ${found.size} operations` : ""}`
      : "";
  };
  return (
    <div class="lam-graph">
      <Toolbar
        state={state}
        fit={() => setCamera(...fitTo(built, ...size(), kMinZoom))}
        zoomBy={(factor) => {
          const [width, height] = size();
          const { x, y, k } = state.camera;
          const next = Math.min(kMaxZoom, Math.max(kMinZoom, k * factor));
          setCamera(
            width / 2 - ((width / 2 - x) * next) / k,
            height / 2 - ((height / 2 - y) * next) / k,
            next,
          );
        }}
      />
      <div class="lam-split">
        <div class="lam-left">
          <div class="lam-stage">
            <canvas
              ref={canvas.ref}
              class="lam-canvas"
              tabIndex={0}
              role="application"
              aria-label={`Graph of ${built.index.plan.nodes.length} operations. Arrow keys follow edges, Enter explains, Space opens a group, E goes through the edges, 0 fits.`}
              onMouseMove={(event) => {
                if (event.buttons) return setHover(null);
                const hit = at(event);
                const item = hit.box < 0 ? -1 : built.scene.boxes[hit.box].item.id;
                setHover(
                  item < 0 && hit.line < 0 ? null : { x: hit.px, y: hit.py, item, line: hit.line },
                );
              }}
              onMouseLeave={() => setHover(null)}
              onClick={(event) => {
                const hit = at(event);
                if (hit.box >= 0) selectBox(state, built.scene.boxes[hit.box]);
                else if (hit.line >= 0) selectLine(state, built, built.scene.lines[hit.line]);
                else store.selection.value = { what: "none" };
              }}
              onDblClick={(event) => {
                const hit = at(event);
                const box = built.scene.boxes[hit.box];
                if (box && box.item.node < 0) state.toggle(box.item.key);
              }}
              onFocus={canvas.redraw}
              onBlur={canvas.redraw}
              onKeyDown={(event) => {
                const step = moveFocus(event, state, built);
                if (!step) return;
                event.preventDefault();
                event.stopPropagation();
                if (step.what === "fit") setCamera(...fitTo(built, ...size(), kMinZoom));
                if (step.what === "focus") {
                  state.focus.value = step.item;
                  store.announcement.value = focusText(step.item);
                  centre(step.item);
                }
                if (step.what === "select") {
                  const box = built.scene.boxes[built.scene.boxOfItem.get(state.focus.value) ?? -1];
                  if (box) selectBox(state, box);
                }
                if (step.what === "edge") {
                  selectLine(state, built, built.scene.lines[step.line]);
                  store.announcement.value = `edge ${step.text}`;
                }
                canvas.redraw();
              }}
            />
            <Tooltip at={hover} width={size()[0]} height={size()[1]}>
              {hover && hover.item >= 0 && <BoxTip state={state} built={built} item={hover.item} />}
              {hover && hover.item < 0 && <LineTip state={state} built={built} line={hover.line} />}
            </Tooltip>
          </div>
          <div class="lam-foot">
            <Legend state={state} built={built} />
          </div>
        </div>
        <Panel store={store} />
      </div>
    </div>
  );
}
