// Keyboard on the graph: arrows follow edges and rows, so that everything is reachable without a pointer.
import type { Built, GraphState } from "./state.ts";

export type Step =
  | { what: "focus"; item: number }
  | { what: "edge"; line: number; text: string }
  | { what: "select" }
  | { what: "fit" }
  | { what: "done" };

function neighbours(built: Built, item: number, down: boolean): number[] {
  const result: number[] = [];
  for (const line of built.scene.lines) {
    if (down && line.src === item) result.push(line.dst);
    if (!down && line.dst === item) result.push(line.src);
  }
  return result;
}

/** Nearest box in a direction: the fall-back where no edge leads on. */
function nearest(built: Built, from: number, dx: number, dy: number): number {
  const own = built.scene.boxes[built.scene.boxOfItem.get(from) ?? -1];
  if (!own) return -1;
  const [x, y] = [own.x + own.w / 2, own.y + Math.min(own.h / 2, 14)];
  let best = -1;
  let least = Number.POSITIVE_INFINITY;
  for (const box of built.scene.boxes) {
    if (box === own) continue;
    const [ox, oy] = [box.x + box.w / 2 - x, box.y + Math.min(box.h / 2, 14) - y];
    const along = ox * dx + oy * dy;
    if (along <= 4) continue;
    const distance = along + 3 * Math.abs(dx ? oy : ox);
    if (distance < least) [best, least] = [box.item.id, distance];
  }
  return best;
}

function nextEdge(built: Built, state: GraphState): Step {
  const item = state.focus.value;
  const own = built.scene.lines
    .map((line, i) => ({ line, i }))
    .filter(({ line }) => item < 0 || line.src === item || line.dst === item);
  if (own.length === 0) return { what: "done" };
  const selection = state.store.selection.value;
  const now = own.findIndex(
    ({ line }) => selection.what === "edge" && line.edges[0] === selection.edges[0],
  );
  const { line, i } = own[(now + 1) % own.length];
  const title = (id: number) => built.tree.items[id].title;
  const text = `${title(line.src)} to ${title(line.dst)}, ${line.unfused ? "not fused" : "fused"}`;
  return { what: "edge", line: i, text };
}

export function moveFocus(event: KeyboardEvent, state: GraphState, built: Built): Step | null {
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  const first = built.scene.boxes[0]?.item.id ?? -1;
  const current = built.scene.boxOfItem.has(state.focus.value) ? state.focus.value : -1;
  const to = (item: number): Step => ({
    what: "focus",
    item: item < 0 ? Math.max(current, first) : item,
  });
  switch (event.key) {
    case "ArrowDown":
    case "ArrowUp": {
      if (current < 0) return to(first);
      const down = event.key === "ArrowDown";
      const next = neighbours(built, current, down)[0];
      return to(next ?? nearest(built, current, 0, down ? 1 : -1));
    }
    case "ArrowLeft":
      return current < 0 ? to(first) : to(nearest(built, current, -1, 0));
    case "ArrowRight":
      return current < 0 ? to(first) : to(nearest(built, current, 1, 0));
    case "Home":
      return to(first);
    case "End":
      return to(built.scene.boxes[built.scene.boxes.length - 1]?.item.id ?? -1);
    case "Enter":
      return { what: "select" };
    case " ": {
      const item = built.tree.items[current];
      if (item && item.children.length > 0) state.toggle(item.key);
      return { what: "done" };
    }
    case "e":
    case "E":
      return nextEdge(built, state);
    case "Escape":
      state.store.selection.value = { what: "none" };
      return { what: "done" };
    case "0":
      return { what: "fit" };
    default:
      return null;
  }
}
