// Per-kernel rows: exact sums from the stream, or the analysis' rows where they have arrived.
import { countedOf, type KernelSum, L, type Store } from "../shared/model.ts";
import type { PlanGroup, PlanIndex } from "../shared/plan.ts";

export interface KernelRow {
  key: string;
  plan: number;
  launch: number;
  name: string;
  kind: string;
  group: number;
  count: number;
  total: number;
  median: number;
  bytes: number;
  flops: number;
  gbs: number;
  /** Share of the measured bandwidth, NaN where none was measured. */
  share: number;
  /** What the device counted, NaN where it counts nothing. */
  coalescing: number;
  conflicts: number;
  lanes: number;
}

export type SortKey =
  | "name"
  | "count"
  | "total"
  | "median"
  | "bytes"
  | "gbs"
  | "share"
  | "coalescing"
  | "conflicts"
  | "lanes";

const kMedianSample = 2000;

function medians(store: Store): Map<string, number> {
  const samples = new Map<string, number[]>();
  const { length } = store.launches;
  const column = (i: number) => store.launches.column(i);
  const [plan, launch, t0, t1] = [column(L.plan), column(L.launch), column(L.t0), column(L.t1)];
  // The newest rows suffice while the cell runs; the analysis brings the exact figure.
  for (let i = Math.max(0, length - 10_000); i < length; i++) {
    const key = store.kernelKey(plan[i], launch[i]);
    const list = samples.get(key);
    if (!list) samples.set(key, [t1[i] - t0[i]]);
    else if (list.length < kMedianSample) list.push(t1[i] - t0[i]);
  }
  const result = new Map<string, number>();
  for (const [key, list] of samples) {
    list.sort((a, b) => a - b);
    const middle = list.length >> 1;
    result.set(key, list.length % 2 ? list[middle] : (list[middle - 1] + list[middle]) / 2);
  }
  return result;
}

function groupOf(index: PlanIndex | undefined, launch: number): PlanGroup | undefined {
  return index?.launchGroups(launch)[0];
}

/** Sums of one kernel over the sizes of its plan. */
interface Family extends KernelSum {
  flops: number;
}

function families(store: Store): Map<string, Family> {
  const found = new Map<string, Family>();
  for (const sum of store.sums.values()) {
    const key = store.kernelKey(sum.plan, sum.launch);
    const index = store.plans.get(sum.plan);
    const flops = (index?.launches.get(sum.launch)?.flops ?? 0) * sum.count;
    const family = found.get(key);
    if (!family) {
      found.set(key, { ...sum, flops });
      continue;
    }
    family.count += sum.count;
    family.total += sum.total;
    family.reads += sum.reads;
    family.writes += sum.writes;
    family.flops += flops;
    // Of the sizes, the one on screen stands for all.
    if (sum.plan === store.plan.value) [family.plan, family.launch] = [sum.plan, sum.launch];
  }
  return found;
}

export function kernelRows(store: Store): KernelRow[] {
  const exact = new Map(
    (store.analysis.kernels ?? []).map((row) => [store.kernelKey(row.plan, row.launch), row]),
  );
  const sampled = exact.size ? new Map<string, number>() : medians(store);
  const peak = store.meta.bandwidth ? store.meta.bandwidth / 1e9 : Number.NaN;
  const rows: KernelRow[] = [];
  for (const [key, sum] of families(store)) {
    const index = store.plans.get(sum.plan);
    const launch = index?.launches.get(sum.launch);
    const group = groupOf(index, sum.launch);
    const bytes = sum.reads + sum.writes;
    const gbs = sum.total > 0 ? bytes / sum.total : 0;
    const counted = countedOf(store, sum.plan, sum.launch);
    rows.push({
      key,
      plan: sum.plan,
      launch: sum.launch,
      name: launch?.name ?? `plan ${sum.plan} launch ${sum.launch}`,
      kind: group?.kind ?? "",
      group: group?.id ?? -1,
      count: sum.count,
      total: sum.total,
      median: exact.get(key)?.median_ns ?? sampled.get(key) ?? sum.total / sum.count,
      bytes,
      flops: sum.flops,
      gbs,
      share: gbs / peak,
      coalescing: counted?.coalescing ?? Number.NaN,
      conflicts: counted?.conflicts ?? Number.NaN,
      lanes: counted?.lanes ?? Number.NaN,
    });
  }
  return rows;
}

export function sortRows(rows: KernelRow[], key: SortKey, down: boolean): KernelRow[] {
  const sign = down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const order = key === "name" ? a.name.localeCompare(b.name) : a[key] - b[key];
    return (
      (Number.isNaN(order) ? 0 : order * sign) || b.total - a.total || a.key.localeCompare(b.key)
    );
  });
}
