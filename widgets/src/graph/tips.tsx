// What the pointer and the legend say about boxes and lines.
import * as format from "../shared/format.ts";
import { titleOf } from "../shared/plan.ts";
import { kCategoryColor, kCategoryGlyph, kKindColor, kKindGlyph } from "../shared/theme.ts";
import { glyphOf } from "./draw.ts";
import type { Built, GraphState } from "./state.ts";

export function BoxTip(props: { state: GraphState; built: Built; item: number }) {
  const { state, built } = props;
  const item = built.tree.items[props.item];
  const { store } = state;
  if (item.node < 0) {
    const group = built.index.groups.get(item.group);
    return (
      <>
        <strong>{item.title}</strong>
        <div>{format.counted(item.size, "operation")}</div>
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
  const box = built.scene.boxes[built.scene.boxOfItem.get(props.item) ?? -1];
  const glyph = box ? glyphOf(box, state.coloring.value) : kKindGlyph[node.kind];
  return (
    <>
      <strong>
        {glyph} {titleOf(node)}
      </strong>
      <div>
        {store.category(node.category)}
        {node.name && node.name !== titleOf(node) && ` ${node.name}`}
      </div>
      <div>
        {format.shape(node.shape)} {node.dtype} · {format.bytes(node.bytes)} ·{" "}
        {format.count(node.flops)} flop
      </div>
      {built.index.transferOf.has(node.id) && (
        <div>⇉ copied from {built.index.transferOf.get(node.id)?.source}</div>
      )}
      {origin?.file && (
        <div>
          {store.where(store.plan.value, node.id)} in {origin.function || "?"}
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

export function LineTip(props: { state: GraphState; built: Built; line: number }) {
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

export function Legend(props: { state: GraphState; built: Built }) {
  const { state, built } = props;
  const coloring = state.coloring.value;
  if (coloring === "bytes") return <span class="lam-dim">glyph = kind, colour = bytes</span>;
  const shown = built.scene.boxes.filter((box) => !box.open).map((box) => box.item);
  const kinds = [...new Set(shown.map((item) => item.kind))].filter(
    (kind) => kKindGlyph[kind] && coloring === "kind" && kind !== "leaf",
  );
  const told = shown.filter((item) => coloring === "category" || item.kind === "leaf");
  const categories = [...new Set(told.map((item) => item.category))].sort((a, b) => a - b);
  const leaf = coloring === "kind";
  return (
    <ul class="lam-legend" aria-label="Legend">
      {kinds.map((kind) => (
        <li key={kind}>
          <i style={{ background: kKindColor[kind] }} />
          {kKindGlyph[kind]} {kind}
        </li>
      ))}
      {categories.map((category) => (
        <li key={category}>
          <i style={{ background: leaf ? kKindColor.leaf : kCategoryColor[category] }} />
          {leaf && !category ? kKindGlyph.leaf : kCategoryGlyph[category]}{" "}
          {leaf && !category ? "leaf" : state.store.category(category)}
        </li>
      ))}
      <li>∂ backward</li>
      <li>
        <i class="lam-dash" /> not fused
      </li>
    </ul>
  );
}
