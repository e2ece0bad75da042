// What the browser knows of one recording: applied frames, sums, and the state of the user interface.
// One store a widget model; every view of the model draws from it, so a second view starts where the first is.
import { signal } from "@preact/signals";
import { Columns } from "./columns.ts";
import * as format from "./format.ts";
import { kCategories, type Origin, type Plan, PlanIndex } from "./plan.ts";
import { type Frame, Kind } from "./wire.ts";

export interface Meta {
  title: string;
  device: string;
  machine: Record<string, unknown>;
  bandwidth: number | null;
  flops: number | null;
  reasons: Record<string, string>;
  categories: string[];
  live: boolean;
  /** Bytes the allocator held when the recording began. */
  active_bytes: number;
  /** Clock value (ns) that the stream's times count from. */
  t_origin: number;
}

export interface KernelSum {
  plan: number;
  launch: number;
  count: number;
  total: number;
  reads: number;
  writes: number;
  min: number;
  max: number;
}

export interface Summary {
  evals: number;
  hits: number;
  polymorphic: number;
  misses: number;
  eval_ns: number;
  kernels: number;
  fused: number;
  unfused: number;
  ideal: number;
  /** Bytes that went from one device's memory to another's. */
  copied: number;
  peak: number;
  predicted_peak: number;
  /** Length of the recorded stretch; 0 while it runs. */
  wall_ns: number;
  overhead_ns: number;
  /** Spent on describing the recording, outside the recorded stretch. */
  prepare_ns: number;
  dropped: number;
}

export interface BufferPart {
  bytes: number;
  category: string;
  op: string;
  name?: string;
  where: string;
  module: string;
  phase: string;
  note?: string;
}

export interface BufferRow extends BufferPart {
  t0: number;
  /** null: outlived the recording. */
  t1: number | null;
  run: number;
  node: number;
}

/** Facts computed by lamina.workbench.analysis; they replace what the browser summed up. */
export interface Analysis {
  /** Clock value (ns) that its times count from. */
  t_origin?: number;
  summary?: Record<string, number>;
  memory?: {
    t: number[];
    names: string[];
    columns: number[][];
    buffers: BufferRow[];
    peak: { t: number; bytes: number; predicted: number | null; parts: BufferPart[] };
  };
  kernels?: { plan: number; launch: number; median_ns: number; clock?: string }[];
  /** Of devices that count what kernels cost; shares are null where there is nothing to share. */
  counters?: Counted[];
  /** What crossed between devices. */
  transfers?: Crossed[];
}

/** A value that a plan reads of another device (lamina.workbench.analysis.transfers). */
export interface Crossed {
  plan: number;
  node: number;
  source: string;
  target: string;
  runs: number;
  copies: number;
  bytes: number;
  ns: number;
}

/** One launch's counts over all its runs (lamina.workbench.analysis.counters). */
export interface Counted {
  plan: number;
  launch: number;
  name: string;
  kernels: string[];
  count: number;
  counts: Record<string, number>;
  transactions: number;
  transactions_ideal: number;
  coalescing: number | null;
  conflicts: number | null;
  divergence: number | null;
  lanes: number | null;
}

interface KernelFacts {
  analysis: Analysis;
  plans: number;
  clocks: Map<string, string>;
  counted: Map<string, Counted>;
}

export type Tab = "graph" | "memory" | "latency";

export type Selection =
  | { what: "none" }
  | { what: "node"; node: number }
  | { what: "group"; group: number }
  | { what: "module"; path: string }
  | { what: "edge"; edges: number[]; src: string; dst: string };

export const R = { run: 0, plan: 1, outcome: 2, nodes: 3, origins: 4, t0: 5, t1: 6 } as const;
export const L = { run: 0, plan: 1, launch: 2, t0: 3, t1: 4, reads: 5, writes: 6 } as const;
export const S = { kind: 0, run: 1, t0: 2, t1: 3, a: 4, b: 5, c: 6, d: 7 } as const;
/** The kind of a span that copies between devices. */
const kCopy = 7;
export const B = { t: 0, op: 1, buffer: 2, bytes: 3, category: 4, node: 5, run: 6 } as const;

const kEmptyMeta: Meta = {
  title: "",
  device: "",
  machine: {},
  bandwidth: null,
  flops: null,
  reasons: {},
  categories: kCategories,
  live: true,
  active_bytes: 0,
  t_origin: 0,
};

export class Store {
  meta: Meta = kEmptyMeta;
  plans = new Map<number, PlanIndex>();
  nodeOrigins = new Map<number, number[]>();
  originTable = new Map<number, Origin>();
  planOrigins = new Map<number, number>();
  fileNames = new Map<string, string>();
  runs = new Columns(7);
  launches = new Columns(7);
  spans = new Columns(8);
  buffers = new Columns(7);
  watermarks = new Columns(2, 200_000);
  sums = new Map<string, KernelSum>();
  runCounts = [0, 0, 0, 0];
  runNs = 0;
  copied = 0;
  runsOfPlan = new Map<number, { count: number; ns: number }>();
  counters = { dropped: 0, launchesLeftOut: 0, buffersLeftOut: 0, overheadNs: 0 };
  analysis: Analysis = {};
  error = "";
  ended = false;
  problem = "";
  /** Counts resets, so that derived data knows when to start over. */
  epoch = 0;

  /** By number, as copies count them. */
  get deviceNames(): readonly string[] {
    return (this.meta.machine.devices as string[] | undefined) ?? [];
  }

  /** Changes when data arrived, at most once a drawing tick. */
  readonly tick = signal(0);
  readonly tab = signal<Tab>("graph");
  readonly plan = signal(-1);
  readonly selection = signal<Selection>({ what: "none" });
  readonly announcement = signal("");
  /** What the views keep between renders (zoom, open groups, cursor), by name. */
  readonly kept = new Map<string, unknown>();
  private known: KernelFacts | null = null;
  private planChosen = false;
  private scheduled = false;

  apply = (frame: Frame): void => {
    switch (frame.kind) {
      case Kind.reset:
        this.reset();
        break;
      case Kind.document:
        if (frame.document) this.document(frame.document);
        break;
      case Kind.runs:
        this.addRuns(frame.columns);
        break;
      case Kind.launches:
        this.launches.append(frame.columns);
        break;
      case Kind.spans:
        this.addSpans(frame.columns);
        break;
      case Kind.buffers:
        this.buffers.append(frame.columns);
        break;
      case Kind.sums:
        this.addSums(frame.columns, frame.count);
        break;
      case Kind.watermark:
        this.watermarks.append(frame.columns);
        break;
      case Kind.counters:
        this.addCounters(frame.columns, frame.count);
        break;
    }
    this.changed();
  };

  fail = (error: unknown): void => {
    this.problem = error instanceof Error ? error.message : String(error);
    this.changed();
  };

  /** The user picked a plan: the view stops following the busiest one. */
  choosePlan(plan: number): void {
    this.planChosen = true;
    this.plan.value = plan;
    this.selection.value = { what: "none" };
  }

  /** Goes to a fused group from another view. */
  showGroup(plan: number, group: number): void {
    if (this.plan.value !== plan) this.choosePlan(plan);
    this.selection.value = { what: "group", group };
  }

  /** Equal for a kernel in all sizes of its plan, also where its number is another in some. */
  kernelKey(plan: number, launch: number): string {
    const index = this.plans.get(plan);
    const groups = index?.launches.get(launch)?.groups;
    return index && groups?.length ? `${index.family}:${groups.join()}` : `plan ${plan}:${launch}`;
  }

  /** The analysis' rows by kernel, for what asks about every slice. */
  facts(): KernelFacts {
    const { analysis, plans, known } = this;
    if (known?.analysis === analysis && known.plans === plans.size) return known;
    const facts: KernelFacts = {
      analysis,
      plans: plans.size,
      clocks: new Map(),
      counted: new Map(),
    };
    for (const row of analysis.kernels ?? [])
      facts.clocks.set(this.kernelKey(row.plan, row.launch), row.clock ?? "");
    for (const row of analysis.counters ?? [])
      facts.counted.set(this.kernelKey(row.plan, row.launch), row);
    this.known = facts;
    return facts;
  }

  originOf(plan: number, node: number): Origin | null {
    const ids = this.nodeOrigins.get(this.planOrigins.get(plan) ?? -1);
    return this.originTable.get(ids?.[node] ?? 0) ?? null;
  }

  /** `train.py:12`, or `In[3]:12` for a cell; empty where unknown. */
  where(plan: number, node: number): string {
    const origin = this.originOf(plan, node);
    if (!origin?.file) return "";
    const name = origin.label || this.fileNames.get(origin.file)?.replace(/^Cell /, "");
    return `${name || format.shortFile(origin.file)}:${origin.line}`;
  }

  reason(code: string): string {
    return this.meta.reasons[code] ?? code.replaceAll("_", " ");
  }

  category(code = 0): string {
    return this.meta.categories[code] ?? `category ${code}`;
  }

  private changed(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    // Text re-renders cost more than they tell above ten a second.
    setTimeout(() => {
      this.scheduled = false;
      this.followBusiestPlan();
      this.tick.value++;
    }, 100);
  }

  private followBusiestPlan(): void {
    if (this.planChosen || this.plans.size === 0) return;
    // A training step runs often; setting up runs once. Beyond ten runs nothing new is learnt.
    const runs = new Map<number, number>();
    for (const [id, { count }] of this.runsOfPlan) {
      const family = this.plans.get(id)?.family ?? id;
      runs.set(family, (runs.get(family) ?? 0) + count);
    }
    const weightOf = (id: number) => {
      const index = this.plans.get(id);
      return index ? index.plan.groups.length * Math.min(10, runs.get(index.family) ?? 1) : -1;
    };
    let best = -1;
    for (const id of this.plans.keys()) if (best < 0 || weightOf(id) > weightOf(best)) best = id;
    // Switch only to a much weightier plan, or the graph would keep jumping while the cell runs.
    const known = this.plans.has(this.plan.value);
    if (!known || weightOf(best) > weightOf(this.plan.value) * 1.5) this.plan.value = best;
  }

  private document(doc: Record<string, unknown>): void {
    switch (doc.type) {
      case "meta":
        this.meta = { ...kEmptyMeta, ...this.meta, ...(doc as Partial<Meta>) };
        break;
      case "plan": {
        const plan = doc.plan as Plan;
        this.plans.set(plan.plan, new PlanIndex(plan));
        break;
      }
      case "origins":
        this.nodeOrigins.set(doc.id as number, doc.nodes as number[]);
        for (const [id, origin] of Object.entries(doc.table as Record<string, Origin>)) {
          this.originTable.set(Number(id), origin);
        }
        break;
      case "source":
        this.fileNames = new Map(Object.entries((doc.names ?? {}) as Record<string, string>));
        break;
      case "analysis":
        this.analysis = doc as Analysis;
        break;
      case "error":
        this.error = String(doc.text ?? "");
        break;
      case "end":
        this.ended = true;
        break;
    }
  }

  private addRuns(columns: Float64Array[]): void {
    this.runs.append(columns);
    for (let i = 0; i < columns[0].length; i++) {
      const plan = columns[R.plan][i];
      const ns = columns[R.t1][i] - columns[R.t0][i];
      this.runCounts[columns[R.outcome][i]]++;
      this.runNs += ns;
      if (columns[R.origins][i] > 0) this.planOrigins.set(plan, columns[R.origins][i]);
      const sum = this.runsOfPlan.get(plan) ?? { count: 0, ns: 0 };
      sum.count++;
      sum.ns += ns;
      this.runsOfPlan.set(plan, sum);
    }
  }

  private addSpans(columns: Float64Array[]): void {
    this.spans.append(columns);
    const [kind, bytes] = [columns[S.kind], columns[S.a]];
    for (let i = 0; i < kind.length; i++) if (kind[i] === kCopy) this.copied += bytes[i];
  }

  private addSums(columns: Float64Array[], rows: number): void {
    for (let i = 0; i < rows; i++) {
      const [plan, launch, count, total, reads, writes, min, max] = columns.map((c) => c[i]);
      const key = `${plan}:${launch}`;
      const sum = this.sums.get(key);
      if (!sum) {
        this.sums.set(key, { plan, launch, count, total, reads, writes, min, max });
        continue;
      }
      sum.count += count;
      sum.total += total;
      sum.reads += reads;
      sum.writes += writes;
      sum.min = Math.min(sum.min, min);
      sum.max = Math.max(sum.max, max);
    }
  }

  private addCounters(columns: Float64Array[], rows: number): void {
    const last = rows - 1;
    const [dropped, launchesLeftOut, buffersLeftOut, overheadNs] = columns.map((c) => c[last]);
    this.counters = { dropped, launchesLeftOut, buffersLeftOut, overheadNs };
  }

  private reset(): void {
    for (const table of [this.runs, this.launches, this.spans, this.buffers, this.watermarks]) {
      table.clear();
    }
    for (const map of [this.plans, this.nodeOrigins, this.originTable, this.planOrigins])
      map.clear();
    this.sums.clear();
    this.runsOfPlan.clear();
    this.runCounts = [0, 0, 0, 0];
    this.runNs = 0;
    this.copied = 0;
    this.counters = { dropped: 0, launchesLeftOut: 0, buffersLeftOut: 0, overheadNs: 0 };
    this.analysis = {};
    this.error = "";
    this.ended = false;
    this.planChosen = false;
    this.plan.value = -1;
    this.selection.value = { what: "none" };
    this.epoch++;
  }
}

/** What a kernel's times were read from; empty while the cell runs. */
export function clockOf(store: Store, plan: number, launch: number): string {
  return store.facts().clocks.get(store.kernelKey(plan, launch)) ?? "";
}

export function countedOf(store: Store, plan: number, launch: number): Counted | undefined {
  return store.facts().counted.get(store.kernelKey(plan, launch));
}

/** Headline figures: the analysis' where they have arrived, sums of the stream before. */
export function summarize(store: Store, livePeak: number): Summary {
  const facts = store.analysis.summary ?? {};
  let [kernels, fused, unfused, ideal] = [0, 0, 0, 0];
  for (const sum of store.sums.values()) kernels += sum.count;
  let predicted_peak = 0;
  for (const [id, runs] of store.runsOfPlan) {
    const plan = store.plans.get(id)?.plan;
    if (!plan) continue;
    fused += plan.traffic.fused * runs.count;
    unfused += plan.traffic.unfused * runs.count;
    ideal += plan.traffic.ideal * runs.count;
    predicted_peak = Math.max(predicted_peak, plan.memory.peak_bytes);
  }
  const [hits, polymorphic, misses] = store.runCounts;
  const summed: Summary = {
    evals: hits + polymorphic + misses,
    hits,
    polymorphic,
    misses,
    eval_ns: store.runNs,
    kernels,
    fused,
    unfused,
    ideal,
    copied: store.copied,
    peak: livePeak,
    predicted_peak,
    wall_ns: 0,
    overhead_ns: store.counters.overheadNs,
    prepare_ns: 0,
    dropped: store.counters.dropped,
  };
  const merged: Record<string, number> = { ...summed };
  for (const [name, value] of Object.entries(facts)) {
    if (name in merged && Number.isFinite(value)) merged[name] = value;
  }
  return merged as unknown as Summary;
}
