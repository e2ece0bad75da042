// Toolbar of the graph view.
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import type { GraphState } from "./state.ts";

function PlanPicker(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  if (store.plans.size < 2) return null;
  // One graph in several sizes is one row, which stands for the size on screen or else the latest.
  const families = new Map<
    number,
    { id: number; ops: number; runs: number; ns: number; sizes: number }
  >();
  for (const index of store.plans.values()) {
    const { plan } = index;
    const runs = store.runsOfPlan.get(plan.plan);
    const row = families.get(index.family) ?? { id: -1, ops: 0, runs: 0, ns: 0, sizes: 0 };
    families.set(index.family, row);
    if (row.id !== store.plan.value) [row.id, row.ops] = [plan.plan, plan.nodes.length];
    row.runs += runs?.count ?? 0;
    row.ns += runs?.ns ?? 0;
    row.sizes++;
  }
  const rows = [...families.values()]
    .sort((a, b) => b.ns - a.ns)
    .map((row) => ({
      id: row.id,
      text:
        `plan ${row.id}: ${row.ops} ops, ${format.counted(row.runs, "run")}` +
        (row.sizes > 1 ? `, ${row.sizes} sizes` : ""),
    }));
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

export function Toolbar(props: {
  state: GraphState;
  fit: () => void;
  zoomBy: (factor: number) => void;
}) {
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
          <option value="category">category</option>
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
        placeholder="search name, op, line, category"
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
