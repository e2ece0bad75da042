// Nesting of a plan's nodes: by nn.Module path (forward and backward apart) or by fused kernel.
import * as format from "../shared/format.ts";
import {
  kCategories,
  type Origin,
  type PlanIndex,
  type PlanNode,
  titleOf,
} from "../shared/plan.ts";

export type Nesting = "kernel" | "module";

export interface Item {
  id: number;
  key: string;
  title: string;
  parent: number;
  depth: number;
  /** Child items; empty for a node. */
  children: number[];
  /** Plan node id, or -1 for a group. */
  node: number;
  /** Fused group id when this item is one, or -1. */
  group: number;
  kind: string;
  phase: string;
  /** Plan nodes inside. */
  size: number;
  bytes: number;
  flops: number;
  /** Category code of a node; of a group, the one with most bytes inside that is not temporary. */
  category: number;
}

export interface Tree {
  /** items[0] is the root. */
  items: Item[];
  /** Plan node id -> item id; hidden nodes are absent. */
  itemOfNode: Map<number, number>;
  byKey: Map<string, number>;
}

const kHidden = new Set(["view", "alias", "scalar"]);

export interface TreeOptions {
  nesting: Nesting;
  /** Show views and scalars too. */
  views: boolean;
  origin: (node: number) => Origin | null;
}

/** Leaves without a name are all called alike: their shape tells them apart. */
function leafTitle(node: PlanNode): string {
  const title = node.kind === "leaf" || node.kind === "scalar" ? titleOf(node) : node.op;
  return node.kind === "leaf" && !node.name ? `${title} ${format.shape(node.shape)}` : title;
}

class Builder {
  items: Item[] = [];
  itemOfNode = new Map<number, number>();
  byKey = new Map<string, number>();

  add(key: string, title: string, parent: number, kind: string): Item {
    const depth = parent < 0 ? 0 : this.items[parent].depth + 1;
    const item: Item = {
      id: this.items.length,
      key,
      title,
      parent,
      depth,
      children: [],
      node: -1,
      group: -1,
      kind,
      phase: "",
      size: 0,
      bytes: 0,
      flops: 0,
      category: 0,
    };
    this.items.push(item);
    this.byKey.set(key, item.id);
    if (parent >= 0) this.items[parent].children.push(item.id);
    return item;
  }

  group(key: string, title: string, parent: number, phase: string): Item {
    const found = this.byKey.get(key);
    if (found !== undefined) return this.items[found];
    const item = this.add(key, title, parent, "module");
    item.phase = phase;
    return item;
  }

  leaf(node: PlanNode, parent: number, phase: string): void {
    const item = this.add(`n${node.id}`, leafTitle(node), parent, node.kind);
    item.node = node.id;
    item.phase = phase;
    this.itemOfNode.set(node.id, item.id);
    const category = node.category ?? 0;
    item.category = category;
    for (let at: number = item.id; at >= 0; at = this.items[at].parent) {
      this.items[at].size++;
      this.items[at].bytes += node.bytes;
      this.items[at].flops += node.flops;
      if (at !== item.id && category) this.count(at, category, node.bytes);
    }
  }

  private sums = new Map<number, Float64Array>();

  private count(group: number, category: number, bytes: number): void {
    let sums = this.sums.get(group);
    if (!sums) {
      sums = new Float64Array(kCategories.length);
      this.sums.set(group, sums);
    }
    sums[category] += bytes;
    const item = this.items[group];
    if (sums[category] > sums[item.category]) item.category = category;
  }
}

function byKernel(build: Builder, index: PlanIndex, options: TreeOptions): void {
  for (const node of index.plan.nodes) {
    if (!options.views && kHidden.has(node.kind)) continue;
    const group = index.groupOf(node.id);
    const phase = options.origin(node.id)?.phase ?? "";
    if (!group) {
      build.leaf(node, 0, phase);
      continue;
    }
    const item = build.group(`g${group.id}`, group.label, 0, phase);
    item.kind = group.kind;
    item.group = group.id;
    build.leaf(node, item.id, phase);
  }
}

/** Leaves carry no module of their own: they belong where they are first used. */
function placeOf(index: PlanIndex, options: TreeOptions): Map<number, Origin> {
  const place = new Map<number, Origin>();
  const homeless = new Set<number>();
  for (const node of index.plan.nodes) {
    const origin = options.origin(node.id);
    if (origin) place.set(node.id, origin);
    if (node.kind === "leaf" || node.kind === "scalar" || !origin) homeless.add(node.id);
  }
  // Backwards, so that the first use is written last.
  for (let i = index.plan.nodes.length - 1; i >= 0; i--) {
    const node = index.plan.nodes[i];
    const origin = place.get(node.id);
    if (!origin) continue;
    for (const input of node.inputs) if (homeless.has(input)) place.set(input, origin);
  }
  return place;
}

function byModule(build: Builder, index: PlanIndex, options: TreeOptions): void {
  const place = placeOf(index, options);
  for (const node of index.plan.nodes) {
    if (!options.views && kHidden.has(node.kind)) continue;
    const origin = place.get(node.id);
    const phase = origin?.phase ?? "";
    let parent = 0;
    if (phase) parent = build.group(`p:${phase}`, phase, 0, phase).id;
    const path = origin?.module ?? "";
    if (path) {
      let key = `m:${phase}`;
      for (const part of path.split(".")) {
        key += `.${part}`;
        parent = build.group(key, part, parent, phase).id;
      }
    } else if (origin?.function) {
      const name = origin.function.replace(/^<(.*)>$/, "$1");
      parent = build.group(`f:${phase}:${name}`, name, parent, phase).id;
    }
    build.leaf(node, parent, phase);
  }
}

/** Merges a group that holds nothing but one group into it: `layers` > `0` reads `layers.0`. */
function compress(items: Item[]): void {
  for (const item of items) {
    while (item.id !== 0 && item.children.length === 1) {
      const child = items[item.children[0]];
      if (child.node >= 0 || child.group >= 0) break;
      item.title = item.key.startsWith("p:")
        ? `${item.title}: ${child.title}`
        : `${item.title}.${child.title}`;
      item.children = child.children;
      for (const grandchild of child.children) items[grandchild].parent = item.id;
      child.children = [];
      child.size = 0;
    }
  }
  const depthOf = (item: Item): number => (item.parent < 0 ? 0 : depthOf(items[item.parent]) + 1);
  for (const item of items) item.depth = depthOf(item);
}

export function buildTree(index: PlanIndex, options: TreeOptions): Tree {
  const build = new Builder();
  build.add("root", "", -1, "module");
  if (options.nesting === "kernel") byKernel(build, index, options);
  else byModule(build, index, options);
  if (options.nesting === "module") compress(build.items);
  return { items: build.items, itemOfNode: build.itemOfNode, byKey: build.byKey };
}

/** Opens groups from the outside in while no more than `most` boxes would show. */
export function firstOpen(tree: Tree, most: number): Set<string> {
  const open = new Set<string>();
  let shown = tree.items[0].children.length;
  const queue = [...tree.items[0].children];
  for (let head = 0; head < queue.length; head++) {
    const item = tree.items[queue[head]];
    if (item.children.length === 0 || item.group >= 0) continue;
    const after = shown - 1 + item.children.length;
    if (after > most) continue;
    shown = after;
    open.add(item.key);
    queue.push(...item.children);
  }
  return open;
}

/** Opens every group around an item, so that it can be seen. */
export function openTo(tree: Tree, item: number, open: ReadonlySet<string>): Set<string> {
  const next = new Set(open);
  for (let at = tree.items[item].parent; at > 0; at = tree.items[at].parent) {
    next.add(tree.items[at].key);
  }
  return next;
}
