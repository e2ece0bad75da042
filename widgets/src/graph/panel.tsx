// Side panel: why something was or was not fused, what it cost, and the kernel that came of it.
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import * as format from "../shared/format.ts";
import { clockOf, countedOf, type Store } from "../shared/model.ts";
import {
  type PlanEdge,
  type PlanGroup,
  type PlanIndex,
  type PlanNode,
  type PlanTransfer,
  titleOf,
} from "../shared/plan.ts";
import { kCategoryGlyph, kKindGlyph } from "../shared/theme.ts";
import { KernelText } from "./source.tsx";
import { type GraphState, graphState } from "./state.ts";

function Facts(props: { rows: [string, ComponentChildren][] }) {
  return (
    <div class="lam-facts">
      {props.rows.map(([name, value]) => (
        <div key={name}>
          <span class="lam-name">{name}</span>
          <span class="lam-value">{value}</span>
        </div>
      ))}
    </div>
  );
}

function where(store: Store, node: number): string {
  return store.where(store.plan.value, node);
}

function nameOf(index: PlanIndex, node: number): string {
  const found = index.nodes.get(node);
  return found ? `${titleOf(found)} ${format.shape(found.shape)}` : `node ${node}`;
}

function select(state: GraphState, node: number): void {
  state.reveal(node);
  state.store.selection.value = { what: "node", node };
}

function NodeButton(props: { state: GraphState; index: PlanIndex; node: number }) {
  const { state, index, node } = props;
  return (
    <button type="button" class="lam-link" onClick={() => select(state, node)}>
      {nameOf(index, node)}
    </button>
  );
}

function GroupButton(props: { state: GraphState; group: PlanGroup }) {
  const { state, group } = props;
  return (
    <button
      type="button"
      class="lam-link"
      onClick={() => {
        state.store.selection.value = { what: "group", group: group.id };
      }}
    >
      {group.label}
    </button>
  );
}

function EdgeCard(props: { state: GraphState; index: PlanIndex; edge: PlanEdge }) {
  const { state, index, edge } = props;
  const { store } = state;
  return (
    <li class={`lam-card ${edge.fused ? "lam-fused" : "lam-apart"}`}>
      <div class="lam-card-head">
        <strong>{edge.fused ? "✓ fused" : "✗ not fused"}</strong>
        <span>
          {edge.fused ? `saves ${format.bytes(edge.bytes)}` : `costs ${format.bytes(edge.bytes)}`}
        </span>
      </div>
      <div>
        <NodeButton state={state} index={index} node={edge.src} /> →{" "}
        <NodeButton state={state} index={index} node={edge.dst} />
      </div>
      {!edge.fused && (
        <p class="lam-reason" data-code={edge.reason}>
          {store.reason(edge.reason)}
        </p>
      )}
      {edge.via.length > 0 && (
        <p class="lam-dim">
          through {edge.via.map((node) => index.nodes.get(node)?.op).join(" → ")} (views, no copy)
        </p>
      )}
      <p class="lam-dim">
        {[where(store, edge.src), where(store, edge.dst)].filter(Boolean).join(" → ")}
      </p>
    </li>
  );
}

export function EdgeList(props: {
  state: GraphState;
  index: PlanIndex;
  edges: PlanEdge[];
  most?: number;
}) {
  const [most, setMost] = useState(props.most ?? 20);
  return (
    <>
      <ul class="lam-cards">
        {props.edges.slice(0, most).map((edge) => (
          <EdgeCard
            key={`${edge.src}-${edge.dst}`}
            state={props.state}
            index={props.index}
            edge={edge}
          />
        ))}
      </ul>
      {props.edges.length > most && (
        <button type="button" class="lam-button" onClick={() => setMost(most + 50)}>
          {props.edges.length - most} more
        </button>
      )}
    </>
  );
}

function Timing(props: { store: Store; group: PlanGroup }) {
  const { store, group } = props;
  store.tick.value;
  const sum = store.sums.get(`${store.plan.value}:${group.launch}`);
  if (!sum || sum.count === 0) return null;
  const moved = (sum.reads + sum.writes) / sum.count;
  const mean = sum.total / sum.count;
  const clock = clockOf(store, store.plan.value, group.launch);
  const share = store.meta.bandwidth ? moved / mean / (store.meta.bandwidth / 1e9) : Number.NaN;
  return (
    <Facts
      rows={[
        ["launches", format.count(sum.count)],
        ["mean time", format.time(mean)],
        ...(clock ? [["read from", clock] as [string, ComponentChildren]] : []),
        [
          "rate",
          `${format.rate(moved, mean)}${Number.isFinite(share) ? ` = ${format.percent(share)} of measured` : ""}`,
        ],
      ]}
    />
  );
}

function shareOr(value: number | null): string {
  return value === null ? "-" : format.percent(value);
}

/** What a device that counts (software Metal) saw of this kernel; sums over its runs. */
function Counters(props: { store: Store; group: PlanGroup }) {
  const { store, group } = props;
  store.tick.value;
  const row = countedOf(store, store.plan.value, group.launch);
  if (!row) return null;
  const count = (name: string) => format.count(row.counts[name] ?? 0);
  return (
    <section class="lam-counters" aria-label="Counted by software Metal">
      <h5>Counted by software Metal</h5>
      <Facts
        rows={[
          ["loads, stores", `${count("device_loads")}, ${count("device_stores")}`],
          [
            "lines of 128 B",
            `${format.count(row.transactions)} asked for, ${format.count(row.transactions_ideal)} at best`,
          ],
          ["coalesced", shareOr(row.coalescing)],
          [
            "bank conflicts",
            row.conflicts === null
              ? "no threadgroup memory"
              : `${count("bank_conflicts")} cycles in ${count("bank_accesses")} accesses`,
          ],
          ["divergent blocks", shareOr(row.divergence)],
          ["lanes at work", shareOr(row.lanes)],
          ["barriers", count("barriers")],
        ]}
      />
    </section>
  );
}

function GroupPanel(props: { state: GraphState; index: PlanIndex; group: PlanGroup }) {
  const { state, index, group } = props;
  const inside = new Set(group.nodes);
  const seen = new Set<PlanEdge>();
  for (const node of group.nodes) for (const edge of index.edgesOf.get(node) ?? []) seen.add(edge);
  const edges = [...seen];
  const fused = edges.filter((edge) => edge.fused && inside.has(edge.src) && inside.has(edge.dst));
  const apart = edges.filter((edge) => !edge.fused).sort((a, b) => b.bytes - a.bytes);
  const saved = fused.reduce((sum, edge) => sum + edge.bytes, 0);
  const cost = apart.reduce((sum, edge) => sum + edge.bytes, 0);
  const together = index.launchGroups(group.launch).filter((other) => other.id !== group.id);
  return (
    <>
      <h4>
        {kKindGlyph[group.kind]} {group.label}
      </h4>
      <p class="lam-dim">
        kernel {group.id} · {group.kind} · launch {group.launch}
        {together.length > 0 && ", together with "}
        {together.map((other, i) => (
          <>
            {i > 0 && ", "}
            <GroupButton state={state} group={other} />
          </>
        ))}
      </p>
      <Facts
        rows={[
          ["operations", String(group.nodes.length)],
          ["reads", format.bytes(group.reads)],
          ["writes", format.bytes(group.writes)],
          ["flops", format.count(group.flops)],
          [
            "intensity",
            group.reads + group.writes
              ? `${(group.flops / (group.reads + group.writes)).toFixed(2)} flop/B`
              : "-",
          ],
          ["saved by fusing", format.bytes(saved)],
        ]}
      />
      <Timing store={state.store} group={group} />
      <Counters store={state.store} group={group} />
      {group.program && (
        <details open>
          <summary>Kernel program</summary>
          <pre class="lam-program">{group.program}</pre>
        </details>
      )}
      <KernelText state={state} index={index} group={group} />
      {apart.length > 0 && (
        <>
          <h5>Boundaries: why not larger ({format.bytes(cost)})</h5>
          <EdgeList state={state} index={index} edges={apart} most={8} />
        </>
      )}
      {fused.length > 0 && (
        <details>
          <summary>Fused inside: {fused.length} edges</summary>
          <EdgeList state={state} index={index} edges={fused} most={8} />
        </details>
      )}
    </>
  );
}

/** What a value of another device costs to bring; counts where the analysis has arrived. */
function Transfer(props: { store: Store; index: PlanIndex; transfer: PlanTransfer }) {
  const { store, index, transfer } = props;
  store.tick.value;
  const { plan } = index;
  const before = index.launches.get(transfer.before);
  const row = store.analysis.transfers?.find(
    (r) => store.plans.get(r.plan)?.family === index.family && r.node === transfer.node,
  );
  return (
    <section class="lam-counters" aria-label="Copied between devices">
      <h5>
        ⇉ Copied from {transfer.source} to {plan.device}
      </h5>
      <Facts
        rows={[
          ["before", before ? `launch ${before.id}, ${before.name}` : "no launch reads it"],
          ...(row
            ? ([
                [
                  "copies",
                  `${format.count(row.copies)} in ${format.counted(row.runs, "run")}${row.copies < row.runs ? ", else found there" : ""}`,
                ],
                [
                  "moved",
                  row.copies
                    ? `${format.bytes(row.bytes)} · ${format.rate(row.bytes, row.ns)}`
                    : "nothing",
                ],
              ] as [string, string][])
            : ([["value", format.bytes(transfer.bytes)]] as [string, string][])),
        ]}
      />
    </section>
  );
}

function NodePanel(props: { state: GraphState; index: PlanIndex; node: PlanNode }) {
  const { state, index, node } = props;
  const { store } = state;
  const origin = store.originOf(store.plan.value, node.id);
  const group = index.groupOf(node.id);
  const params = Object.entries(node.params ?? {});
  const transfer = index.transferOf.get(node.id);
  const edges = [...(index.edgesOf.get(node.id) ?? [])].sort(
    (a, b) => Number(a.fused) - Number(b.fused) || b.bytes - a.bytes,
  );
  return (
    <>
      <h4>
        {kKindGlyph[node.kind]} {titleOf(node)}
      </h4>
      <Facts
        rows={[
          ...(node.name ? [["name", node.name] as [string, string]] : []),
          ["shape", `${format.shape(node.shape)} ${node.dtype}`],
          ["bytes", format.bytes(node.bytes)],
          ["flops", format.count(node.flops)],
          ["category", `${kCategoryGlyph[node.category ?? 0]} ${store.category(node.category)}`],
          ["line", where(store, node.id) || "unknown"],
          ["module", origin?.module || "none"],
          ["phase", origin?.phase || "none"],
          ...params.map(([name, value]) => [name, JSON.stringify(value)] as [string, string]),
        ]}
      />
      {transfer && <Transfer store={store} index={index} transfer={transfer} />}
      {group && (
        <p>
          In kernel <GroupButton state={state} group={group} />
        </p>
      )}
      {edges.length > 0 && <h5>Edges</h5>}
      <EdgeList state={state} index={index} edges={edges} most={8} />
    </>
  );
}

function ModulePanel(props: { state: GraphState; index: PlanIndex; path: string }) {
  const { state, index } = props;
  const tree = state.tree.value;
  const item = tree?.items[tree.byKey.get(props.path) ?? -1];
  if (!tree || !item) return null;
  const nodes: number[] = [];
  const walk = (id: number) => {
    if (tree.items[id].node >= 0) nodes.push(tree.items[id].node);
    tree.items[id].children.forEach(walk);
  };
  walk(item.id);
  const inside = new Set(nodes);
  const groups = [
    ...new Set(nodes.map((node) => index.groupOf(node)).filter((group) => group !== null)),
  ];
  const crossing = index.unfused().filter((edge) => inside.has(edge.src) || inside.has(edge.dst));
  return (
    <>
      <h4>▤ {item.title}</h4>
      <Facts
        rows={[
          ["operations", String(nodes.length)],
          ["kernels", String(groups.length)],
          ["bytes", format.bytes(item.bytes)],
          ["flops", format.count(item.flops)],
        ]}
      />
      <ul class="lam-plain">
        {groups.slice(0, 12).map((group) => (
          <li key={group.id}>
            {kKindGlyph[group.kind]} <GroupButton state={state} group={group} />
          </li>
        ))}
      </ul>
      {crossing.length > 0 && <h5>Not fused, dearest first</h5>}
      <EdgeList state={state} index={index} edges={crossing} most={8} />
    </>
  );
}

function Overview(props: { state: GraphState; index: PlanIndex }) {
  const { state, index } = props;
  const { plan } = index;
  const unfused = index.unfused();
  const fused = plan.edges.length - plan.edges.filter((edge) => !edge.fused).length;
  const slow = [...plan.passes].sort((a, b) => b.us - a.us);
  return (
    <>
      <h4>Plan {plan.plan}</h4>
      <p>
        {format.counted(plan.nodes.length, "operation")} became{" "}
        {plan.launches.length === 1 ? "1 launch" : `${plan.launches.length} launches`}. {fused} of{" "}
        {plan.edges.length} edges are fused; traffic is {format.bytes(plan.traffic.fused)} instead
        of {format.bytes(plan.traffic.unfused)}.
      </p>
      {plan.transfers !== undefined && plan.transfers.length > 0 && (
        <>
          <h5>Copied from other devices</h5>
          <ul class="lam-plain">
            {plan.transfers.slice(0, 12).map((transfer) => (
              <li key={transfer.node}>
                ⇉ <NodeButton state={state} index={index} node={transfer.node} />{" "}
                <span class="lam-dim">
                  from {transfer.source}, {format.bytes(transfer.bytes)}
                </span>
              </li>
            ))}
          </ul>
        </>
      )}
      <h5>Unfused edges, dearest first</h5>
      <EdgeList state={state} index={index} edges={unfused} />
      <details>
        <summary>Passes: {format.time(slow.reduce((sum, pass) => sum + pass.us, 0) * 1e3)}</summary>
        <table class="lam-table">
          <tbody>
            {slow.map((pass) => (
              <tr key={pass.name}>
                <td>{pass.name}</td>
                <td class="lam-num">{format.time(pass.us * 1e3)}</td>
                <td class="lam-num">{pass.changed} changed</td>
              </tr>
            ))}
          </tbody>
        </table>
      </details>
    </>
  );
}

function Matches(props: { state: GraphState; index: PlanIndex }) {
  const { state, index } = props;
  const found = state.matches(state.search.value);
  return (
    <>
      <h5 aria-live="polite">{found.length} operations found</h5>
      <ul class="lam-plain">
        {found.slice(0, 100).map((node) => (
          <li key={node}>
            <NodeButton state={state} index={index} node={node} />{" "}
            <span class="lam-dim">{where(state.store, node)}</span>
          </li>
        ))}
      </ul>
    </>
  );
}

export function Panel(props: { store: Store }) {
  const { store } = props;
  const state = graphState(store);
  const index = state.index.value;
  if (!index) return null;
  const selection = store.selection.value;
  let body: ComponentChildren = null;
  if (selection.what === "group") {
    const group = index.groups.get(selection.group);
    if (group) body = <GroupPanel key={group.id} state={state} index={index} group={group} />;
  } else if (selection.what === "node") {
    const node = index.nodes.get(selection.node);
    if (node) body = <NodePanel key={node.id} state={state} index={index} node={node} />;
  } else if (selection.what === "module") {
    body = <ModulePanel key={selection.path} state={state} index={index} path={selection.path} />;
  } else if (selection.what === "edge") {
    const edges = selection.edges.map((i) => index.plan.edges[i]).filter(Boolean);
    body = (
      <>
        <h4>
          {format.elide(selection.src, 24)} → {format.elide(selection.dst, 24)}
        </h4>
        <EdgeList
          key={selection.edges.join()}
          state={state}
          index={index}
          edges={edges.sort((a, b) => Number(a.fused) - Number(b.fused) || b.bytes - a.bytes)}
        />
      </>
    );
  }
  const searching = state.search.value.trim() !== "" && body === null;
  return (
    <aside class="lam-panel" aria-label="Explanation">
      {body && (
        <button
          type="button"
          class="lam-button lam-back"
          onClick={() => {
            store.selection.value = { what: "none" };
          }}
        >
          ← all
        </button>
      )}
      {body ??
        (searching ? (
          <Matches state={state} index={index} />
        ) : (
          <Overview state={state} index={index} />
        ))}
    </aside>
  );
}
