// What the user did in the graph view, kept in the store so that it survives a re-render of the output.
import { computed, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { Selection, Store } from "../shared/model.ts";
import type { PlanIndex } from "../shared/plan.ts";
import type { Camera, Coloring } from "./draw.ts";
import { SceneIndex } from "./pick.ts";
import { Refiner } from "./refine.ts";
import { buildScene, countShown, type Scene } from "./scene.ts";
import { buildTree, firstOpen, type Nesting, openTo, type Tree } from "./tree.ts";

const kFirstBoxes = 40;
// Of scenes with more boxes only the beginning is drawn while a worker lays out all of it.
const kAtOnce = 1200;
const kDraft = 150;

export interface Built {
  index: PlanIndex;
  tree: Tree;
  scene: Scene;
  picks: SceneIndex;
  maxBytes: number;
  layoutMs: number;
  /** A first picture: the layout of the whole is under way. */
  draft: boolean;
}

export class GraphState {
  private readonly refiner = new Refiner();
  private readonly refined: Signal<{ tree: Tree; open: string; scene: Scene } | null> =
    signal(null);
  private wanted: { tree: Tree; open: string } | null = null;
  readonly nesting: Signal<Nesting> = signal("module");
  readonly views = signal(false);
  readonly coloring: Signal<Coloring> = signal("kind");
  readonly search = signal("");
  /** Open groups by plan and nesting. */
  readonly open = signal(new Map<string, Set<string>>());
  readonly focus = signal(-1);
  camera: Camera = { x: 0, y: 0, k: 1 };
  /** Scene the camera was fitted to. */
  fitted = "";
  readonly index: ReadonlySignal<PlanIndex | null>;
  readonly tree: ReadonlySignal<Tree | null>;
  readonly built: ReadonlySignal<Built | null>;

  constructor(readonly store: Store) {
    let seen: { plan: number; origins: number; index: PlanIndex | null } | null = null;
    // Origins arrive after the plan's first run: the tree is rebuilt once they are known.
    const source = computed(() => {
      store.tick.value;
      const plan = store.plan.value;
      const origins = store.planOrigins.get(plan) ?? 0;
      const known = store.nodeOrigins.has(origins) ? origins : 0;
      const index = store.plans.get(plan) ?? null;
      if (seen && seen.plan === plan && seen.origins === known && seen.index === index) return seen;
      seen = { plan, origins: known, index };
      return seen;
    });
    this.index = computed(() => source.value.index);
    this.tree = computed(() => {
      const { plan, index } = source.value;
      if (!index) return null;
      return buildTree(index, {
        nesting: this.nesting.value,
        views: this.views.value,
        origin: (node) => store.originOf(plan, node),
      });
    });
    this.built = computed(() => this.build());
  }

  openKeys(tree: Tree): ReadonlySet<string> {
    return this.open.value.get(this.place()) ?? firstOpen(tree, kFirstBoxes);
  }

  toggle(key: string): void {
    const tree = this.tree.value;
    if (!tree) return;
    const keys = new Set(this.openKeys(tree));
    if (!keys.delete(key)) keys.add(key);
    this.setOpen(keys);
  }

  setAll(open: boolean): void {
    const groups = (this.tree.value?.items ?? []).filter((item) => item.id && item.children.length);
    this.setOpen(new Set(open ? groups.map((item) => item.key) : []));
  }

  /** Opens what is needed to see a plan node; returns the item, or -1 when it is hidden. */
  reveal(node: number): number {
    const tree = this.tree.value;
    const item = tree?.itemOfNode.get(node);
    if (!tree || item === undefined) return -1;
    this.setOpen(openTo(tree, item, this.openKeys(tree)));
    return item;
  }

  /** Items that stand for the selection in the current scene. */
  selectedItems(selection: Selection): Set<number> {
    const built = this.built.value;
    const result = new Set<number>();
    if (!built) return result;
    const { tree, scene, index } = built;
    const visible = (item: number | undefined) => {
      let at = item ?? -1;
      while (at > 0 && !scene.boxOfItem.has(at)) at = tree.items[at].parent;
      if (at > 0) result.add(at);
    };
    if (selection.what === "node") visible(tree.itemOfNode.get(selection.node));
    if (selection.what === "module") visible(tree.byKey.get(selection.path));
    if (selection.what === "group") {
      const own = tree.byKey.get(`g${selection.group}`);
      if (own !== undefined) visible(own);
      else
        for (const node of index.groups.get(selection.group)?.nodes ?? [])
          visible(tree.itemOfNode.get(node));
    }
    return result;
  }

  /** Items of the same source line in the other phase: backward of a forward node and the reverse. */
  pairedItems(selected: ReadonlySet<number>): Set<number> {
    const built = this.built.value;
    const result = new Set<number>();
    if (!built || selected.size === 0 || selected.size > 40) return result;
    const { tree, scene, index } = built;
    const plan = this.store.plan.value;
    const lines = new Set<string>();
    for (const item of selected) {
      const node = tree.items[item].node;
      const origin = node >= 0 ? this.store.originOf(plan, node) : null;
      if (origin?.line) lines.add(`${origin.file}:${origin.line}:${origin.module}:${origin.phase}`);
    }
    if (lines.size === 0) return result;
    for (const node of index.plan.nodes) {
      const origin = this.store.originOf(plan, node.id);
      if (!origin?.phase) continue;
      const other = origin.phase === "backward" ? "forward" : "backward";
      if (!lines.has(`${origin.file}:${origin.line}:${origin.module}:${other}`)) continue;
      let at = tree.itemOfNode.get(node.id) ?? -1;
      while (at > 0 && !scene.boxOfItem.has(at)) at = tree.items[at].parent;
      if (at > 0) result.add(at);
    }
    return result;
  }

  /** Plan nodes whose name, category, op, module, line or shape holds the text. */
  matches(text: string): number[] {
    const index = this.index.value;
    const wanted = text.trim().toLowerCase();
    if (!index || !wanted) return [];
    const { store } = this;
    const plan = store.plan.value;
    return index.plan.nodes
      .filter((node) => {
        const origin = store.originOf(plan, node.id);
        const all = `${node.name ?? ""} ${store.category(node.category)} ${node.op} ${node.kind} (${node.shape.join(", ")}) ${node.dtype} ${origin?.module ?? ""} ${origin?.file ?? ""}:${origin?.line ?? ""} ${index.groupOf(node.id)?.label ?? ""}`;
        return all.toLowerCase().includes(wanted);
      })
      .map((node) => node.id);
  }

  private place(): string {
    return `${this.store.epoch}:${this.store.plan.value}:${this.nesting.value}`;
  }

  private setOpen(keys: Set<string>): void {
    const next = new Map(this.open.value);
    next.set(this.place(), keys);
    this.open.value = next;
  }

  private build(): Built | null {
    const index = this.index.value;
    const tree = this.tree.value;
    if (!index || !tree) return null;
    const start = performance.now();
    const { scene, draft } = this.scene(tree, index);
    const picks = new SceneIndex(scene);
    let maxBytes = 1;
    for (const box of scene.boxes) if (!box.open) maxBytes = Math.max(maxBytes, box.item.bytes);
    return { index, tree, scene, picks, maxBytes, layoutMs: performance.now() - start, draft };
  }

  /** The whole where that is quick, else its beginning, and the whole when it is there. */
  private scene(tree: Tree, index: PlanIndex): { scene: Scene; draft: boolean } {
    const keys = this.openKeys(tree);
    const { edges } = index.plan;
    if (countShown(tree.items, keys) <= kAtOnce) {
      this.refiner.stop();
      this.wanted = null;
      return { scene: buildScene(tree, edges, keys), draft: false };
    }
    const open = [...keys].sort().join("\n");
    const refined = this.refined.value;
    if (refined?.tree === tree && refined.open === open)
      return { scene: refined.scene, draft: false };
    if (this.wanted?.tree !== tree || this.wanted.open !== open) {
      this.wanted = { tree, open };
      this.refiner.start(tree, edges, keys, (scene) => {
        this.refined.value = { tree, open, scene };
      });
    }
    return { scene: buildScene(tree, edges, keys, kDraft), draft: true };
  }
}

export function graphState(store: Store): GraphState {
  let state = store.kept.get("graph") as GraphState | undefined;
  if (!state) {
    state = new GraphState(store);
    store.kept.set("graph", state);
  }
  return state;
}
