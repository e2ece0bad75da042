// The composed view: headline figures, tabs, one view below.
import type { ComponentChildren } from "preact";
import { GraphView } from "./graph/view.tsx";
import { LatencyView } from "./latency/view.tsx";
import { livePeak } from "./memory/state.ts";
import { MemoryView } from "./memory/view.tsx";
import { Announcer, Tabs } from "./shared/a11y.tsx";
import * as format from "./shared/format.ts";
import { type Store, type Summary, summarize, type Tab } from "./shared/model.ts";

const kTabs = ["graph", "memory", "latency"] as const;
const kTitles = { graph: "Graph and fusion", memory: "Memory", latency: "Latency" };

function Figure(props: { name: string; children: ComponentChildren; hint?: string }) {
  return (
    <div class="lam-figure" title={props.hint}>
      <span class="lam-name">{props.name}</span>
      <span class="lam-value">{props.children}</span>
    </div>
  );
}

/** Bars to scale: op by op, as run, ideal, and what went between devices. */
function Traffic(props: { summary: Summary }) {
  const { unfused, fused, ideal, copied } = props.summary;
  const most = Math.max(unfused, fused, ideal, copied, 1);
  const rows: [string, number][] = [
    ["unfused", unfused],
    ["as run", fused],
    ["ideal", ideal],
    ...(copied > 0 ? [["copied", copied] as [string, number]] : []),
  ];
  return (
    <table class="lam-traffic" aria-label="Memory traffic">
      <tbody>
        {rows.map(([name, value]) => (
          <tr key={name}>
            <th scope="row">{name}</th>
            <td class="lam-num">{format.bytes(value)}</td>
            <td class="lam-traffic-bar" aria-hidden="true">
              <i style={{ width: `${(value / most) * 100}%` }} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Header(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  const summary = summarize(store, livePeak(store));
  const outcomes = [
    `${summary.hits} hit`,
    `${summary.polymorphic} poly`,
    `${summary.misses} miss`,
  ].join(" · ");
  const whole = summary.wall_ns || summary.eval_ns;
  const cost = `what recording cost while the program ran, and its share; describing it took ${format.time(summary.prepare_ns)} outside the run`;
  const share = whole > 0 ? summary.overhead_ns / whole : Number.NaN;
  return (
    <header class="lam-header">
      <div class="lam-figures">
        <Figure name="evaluations" hint="plan cache: hits, polymorphic hits, misses">
          {format.count(summary.evals)} <small>{outcomes}</small>
        </Figure>
        <Figure name="time in evals">{format.time(summary.eval_ns)}</Figure>
        <Figure name="kernels run">{format.count(summary.kernels)}</Figure>
        <Figure name="peak memory">{format.bytes(summary.peak)}</Figure>
        <Figure name="recording cost" hint={cost}>
          {store.ended ? format.time(summary.overhead_ns) : "…"}{" "}
          <small>{store.ended && Number.isFinite(share) ? format.percent(share) : ""}</small>
        </Figure>
        {summary.dropped > 0 && (
          <Figure name="events lost" hint="the ring had no room: sums are too low">
            <strong>⚠ {format.count(summary.dropped)}</strong>
          </Figure>
        )}
      </div>
      <Traffic summary={summary} />
    </header>
  );
}

function Status(props: { store: Store }) {
  const { store } = props;
  store.tick.value;
  if (store.problem)
    return <span class="lam-badge lam-bad">⚠ {format.elide(store.problem, 80)}</span>;
  if (store.error)
    return (
      <span class="lam-badge lam-bad" title={store.error}>
        ⚠ the cell raised
      </span>
    );
  if (!store.ended) return <span class="lam-badge lam-live">● live</span>;
  return (
    <span class="lam-badge">
      {format.elide(store.meta.title || store.meta.device || "recorded", 40)}
    </span>
  );
}

function View(props: { store: Store; tab: Tab }) {
  if (props.tab === "graph") return <GraphView store={props.store} />;
  if (props.tab === "memory") return <MemoryView store={props.store} />;
  return <LatencyView store={props.store} />;
}

/** `only` shows one view without tabs. */
export function App(props: { store: Store; only: Tab | null; id: string }) {
  const { store, only } = props;
  const tab = only ?? store.tab.value;
  return (
    <>
      <Header store={store} />
      <div class="lam-tabbar">
        {only ? (
          <strong>{kTitles[only]}</strong>
        ) : (
          <Tabs
            names={kTabs}
            current={tab}
            titles={kTitles}
            id={props.id}
            onChange={(name) => {
              store.tab.value = name;
            }}
          />
        )}
        <span class="lam-grow" />
        <Status store={store} />
      </div>
      <section
        class="lam-view"
        id={`${props.id}-panel`}
        role={only ? undefined : "tabpanel"}
        aria-labelledby={only ? undefined : `${props.id}-tab-${tab}`}
      >
        <View key={tab} store={store} tab={tab} />
      </section>
      <Announcer text={store.announcement} />
    </>
  );
}
