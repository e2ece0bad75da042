// User state of the latency view, kept in the store.
import type { Store } from "../shared/model.ts";
import type { SortKey } from "./rows.ts";
import { Timeline } from "./timeline.ts";

export interface State {
  timeline: Timeline;
  zoom: { k: number; x: number };
  sort: { key: SortKey; down: boolean };
}

export function latencyState(store: Store): State {
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

/** Of the selected kernel, in all sizes of its plan (Store.kernelKey). */
export type Chosen = string;

export function pickLaunch(store: Store, plan: number, launch: number): void {
  const group = store.plans.get(plan)?.launchGroups(launch)[0];
  if (group) store.showGroup(plan, group.id);
}

/** The selected kernel. */
export function selectedLaunches(store: Store): Chosen | null {
  const selection = store.selection.value;
  const plan = store.plan.value;
  const index = store.plans.get(plan);
  if (!index) return null;
  let group = selection.what === "group" ? index.groups.get(selection.group) : undefined;
  if (selection.what === "node") group = index.groupOf(selection.node) ?? undefined;
  return group ? store.kernelKey(plan, group.launch) : null;
}
