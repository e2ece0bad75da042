// From what is drawn to what is selected.
import { type DrawInput, drawScene } from "./draw.ts";
import type { Box, Line } from "./scene.ts";
import type { Built, GraphState } from "./state.ts";

export interface Hover {
  x: number;
  y: number;
  item: number;
  line: number;
}

export function selectBox(state: GraphState, box: Box): void {
  const { item } = box;
  state.focus.value = item.id;
  if (item.node >= 0) state.store.selection.value = { what: "node", node: item.node };
  else if (item.group >= 0) state.store.selection.value = { what: "group", group: item.group };
  else state.store.selection.value = { what: "module", path: item.key };
}

export function selectLine(state: GraphState, built: Built, line: Line): void {
  const title = (id: number) => built.tree.items[id].title;
  state.store.selection.value = {
    what: "edge",
    edges: line.edges,
    src: title(line.src),
    dst: title(line.dst),
  };
}

export function lineOfSelection(state: GraphState, built: Built): number {
  const selection = state.store.selection.value;
  if (selection.what !== "edge") return -1;
  const wanted = selection.edges[0];
  return built.scene.lines.findIndex((line) => line.edges.includes(wanted));
}

/** Boxes that hold what the search found. */
export function foundItems(state: GraphState, built: Built): Set<number> {
  const found = new Set<number>();
  for (const node of state.matches(state.search.value)) {
    let at = built.tree.itemOfNode.get(node) ?? -1;
    while (at > 0 && !built.scene.boxOfItem.has(at)) at = built.tree.items[at].parent;
    if (at > 0) found.add(at);
  }
  return found;
}

/** Box and line under the pointer, as positions in the scene. */
export function hitAt(state: GraphState, built: Built, event: MouseEvent) {
  const bounds = (event.currentTarget as HTMLElement).getBoundingClientRect();
  const [px, py] = [event.clientX - bounds.left, event.clientY - bounds.top];
  const { x, y, k } = state.camera;
  const [sx, sy] = [(px - x) / k, (py - y) / k];
  const box = built.picks.boxAt(sx, sy);
  const line = box < 0 ? built.picks.lineAt(sx, sy, 7 / k) : -1;
  return { px, py, box, line };
}

export function paint(
  surface: Pick<DrawInput, "context" | "width" | "height" | "theme">,
  state: GraphState,
  built: Built,
  hover: Hover | null,
  focused: boolean,
): void {
  const selected = state.selectedItems(state.store.selection.value);
  drawScene({
    ...surface,
    scene: built.scene,
    picks: built.picks,
    camera: state.camera,
    coloring: state.coloring.value,
    index: built.index,
    maxBytes: built.maxBytes,
    marks: {
      focus: focused ? state.focus.value : -1,
      selected,
      found: foundItems(state, built),
      paired: state.pairedItems(selected),
      line: lineOfSelection(state, built),
      hoverItem: hover?.item ?? -1,
      hoverLine: hover?.line ?? -1,
    },
  });
}
