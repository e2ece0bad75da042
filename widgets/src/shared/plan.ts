// The plan as the engine describes it (wire names unchanged) and look-ups over it.

export interface PlanNode {
  id: number;
  op: string;
  kind: string;
  params?: Record<string, unknown>;
  inputs: number[];
  shape: number[];
  dtype: string;
  bytes: number;
  flops: number;
  group: number | null;
  role: string;
  category?: number;
  /** What the program calls the value: a parameter's path, a variable. */
  name?: string;
  /** Of a scalar, in its first run. */
  value?: number | boolean | string;
  varies?: boolean;
}

/** What a reader calls a node: a leaf's name, a scalar's value, else the operation. */
export function titleOf(node: PlanNode): string {
  if (node.name && node.kind === "leaf") return node.name;
  if (node.value === undefined) return node.op;
  const { value } = node;
  const text = typeof value === "number" ? String(Number(value.toPrecision(6))) : String(value);
  return node.varies ? `${text} …` : text;
}

export interface PlanGroup {
  id: number;
  kind: string;
  label: string;
  nodes: number[];
  launch: number;
  reads: number;
  writes: number;
  flops: number;
  scratch: number;
  program: string;
  /** Of devices that compile source: language, what became of it, its kernels. */
  kernel_text?: {
    dialect: string;
    compiled: string;
    /** `text` is a position in the plan's `texts`. */
    sources: { title: string; text: number }[];
  };
}

export interface PlanEdge {
  src: number;
  dst: number;
  fused: boolean;
  reason: string;
  bytes: number;
  via: number[];
}

export interface PlanLaunch {
  id: number;
  groups: number[];
  name: string;
  reads: number;
  writes: number;
  flops: number;
  inputs: number[];
  outputs: number[];
}

/** Memory of another device: copied before launch `before`, unless a copy lies there. */
export interface PlanTransfer {
  node: number;
  source: string;
  bytes: number;
  before: number;
}

export interface PlanBuffer {
  id: number;
  node: number;
  offset: number;
  bytes: number;
  first: number;
  last: number;
  storage: string;
  donor: number;
}

export interface Plan {
  plan: number;
  key: string;
  /** The plan that this one was put on other sizes from; absent in older recordings. */
  family?: number;
  device: string;
  nodes: PlanNode[];
  groups: PlanGroup[];
  edges: PlanEdge[];
  launches: PlanLaunch[];
  /** Absent in older recordings. */
  transfers?: PlanTransfer[];
  memory: {
    arena_bytes: number;
    output_bytes: number;
    input_bytes?: number;
    peak_bytes: number;
    buffers: PlanBuffer[];
  };
  passes: { name: string; us: number; changed: number }[];
  traffic: { unfused: number; fused: number; ideal: number };
  outcome: string;
  /** Texts of kernels, each once. */
  texts?: string[];
}

export interface Origin {
  file: string;
  line: number;
  function: string;
  module: string;
  phase: string;
  /** What a reader calls the file where that is not its name: a notebook's cell. */
  label?: string;
}

export const kCategories = [
  "temporary",
  "parameter",
  "gradient",
  "optimizer state",
  "activation",
  "input data",
  "arena",
  "output",
];

/** A plan with maps by id; ids need not be positions. */
export class PlanIndex {
  readonly nodes = new Map<number, PlanNode>();
  readonly groups = new Map<number, PlanGroup>();
  readonly launches = new Map<number, PlanLaunch>();
  readonly edgesOf = new Map<number, PlanEdge[]>();
  readonly transferOf = new Map<number, PlanTransfer>();

  constructor(readonly plan: Plan) {
    for (const node of plan.nodes) this.nodes.set(node.id, node);
    for (const group of plan.groups) this.groups.set(group.id, group);
    for (const launch of plan.launches) this.launches.set(launch.id, launch);
    for (const transfer of plan.transfers ?? []) this.transferOf.set(transfer.node, transfer);
    for (const edge of plan.edges) {
      for (const end of edge.src === edge.dst ? [edge.src] : [edge.src, edge.dst]) {
        const list = this.edgesOf.get(end);
        if (list) list.push(edge);
        else this.edgesOf.set(end, [edge]);
      }
    }
  }

  get family(): number {
    return this.plan.family ?? this.plan.plan;
  }

  groupOf(node: number): PlanGroup | null {
    const id = this.nodes.get(node)?.group;
    return id === null || id === undefined ? null : (this.groups.get(id) ?? null);
  }

  launchGroups(launch: number): PlanGroup[] {
    return (this.launches.get(launch)?.groups ?? [])
      .map((id) => this.groups.get(id))
      .filter((group) => group !== undefined);
  }

  /** Unfused edges, dearest first; equal costs keep the plan's order. */
  unfused(): PlanEdge[] {
    return this.plan.edges
      .filter((edge) => !edge.fused && edge.reason !== "")
      .sort((a, b) => b.bytes - a.bytes);
  }
}
