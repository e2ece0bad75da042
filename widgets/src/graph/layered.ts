// Near-linear layered layout, top to bottom. Deterministic: the same input gives the same coordinates.
// Passes: break cycles, layer by longest path, chain long edges through dummies, order by medians, place by
// weighted least squares under separation constraints (pool adjacent violators).

export interface LayoutInput {
  widths: ArrayLike<number>;
  heights: ArrayLike<number>;
  /** Pairs of node positions; self loops and repeats are allowed. */
  edges: ReadonlyArray<readonly [number, number]>;
  /** Per edge: true keeps it pointing down but reserves it no way around boxes. */
  weak?: ReadonlyArray<boolean>;
  gapX?: number;
  gapY?: number;
}

export interface LayoutResult {
  /** Centres. */
  x: Float64Array;
  y: Float64Array;
  width: number;
  height: number;
  layers: number;
  /** For each input edge the centres of its dummies from source to target, as x, y pairs. */
  routes: number[][];
}

interface Work {
  /** Real nodes first, dummies after. */
  count: number;
  layer: number[];
  width: number[];
  height: number[];
  up: number[][];
  down: number[][];
}

const kDummyWidth = 8;

/** Reverses the edges that close a cycle in a depth-first walk. */
function acyclic(count: number, edges: LayoutInput["edges"]): Array<[number, number]> {
  const out: number[][] = Array.from({ length: count }, () => []);
  edges.forEach(([from], i) => {
    out[from].push(i);
  });
  const state = new Uint8Array(count);
  const cursor = new Int32Array(count);
  const result = edges.map(([a, b]) => [a, b] as [number, number]);
  for (let root = 0; root < count; root++) {
    if (state[root]) continue;
    const stack = [root];
    state[root] = 1;
    while (stack.length) {
      const node = stack[stack.length - 1];
      if (cursor[node] >= out[node].length) {
        state[node] = 2;
        stack.pop();
        continue;
      }
      const edge = out[node][cursor[node]++];
      const next = edges[edge][1];
      if (state[next] === 1) result[edge] = [next, node];
      else if (state[next] === 0) {
        state[next] = 1;
        stack.push(next);
      }
    }
  }
  return result;
}

/** Longest path from the sources; sources then sink to just above their first consumer. */
function layering(count: number, edges: ReadonlyArray<readonly [number, number]>): number[] {
  const out: number[][] = Array.from({ length: count }, () => []);
  const degree = new Int32Array(count);
  for (const [a, b] of edges) {
    if (a === b) continue;
    out[a].push(b);
    degree[b]++;
  }
  const sources: number[] = [];
  for (let i = 0; i < count; i++) if (degree[i] === 0) sources.push(i);
  const layer = new Array<number>(count).fill(0);
  const queue = [...sources];
  for (let head = 0; head < queue.length; head++) {
    const node = queue[head];
    for (const next of out[node]) {
      layer[next] = Math.max(layer[next], layer[node] + 1);
      if (--degree[next] === 0) queue.push(next);
    }
  }
  for (const node of sources) {
    let first = Number.POSITIVE_INFINITY;
    for (const next of out[node]) first = Math.min(first, layer[next]);
    if (Number.isFinite(first)) layer[node] = Math.max(0, first - 1);
  }
  return folded(layer, Math.max(10, Math.ceil(Math.sqrt(count) * 0.7)));
}

/** Splits layers wider than `widest` into rows; nodes of one layer share no edge, so order is kept. */
function folded(layer: number[], widest: number): number[] {
  const members: number[][] = [];
  layer.forEach((value, node) => {
    members[value] ??= [];
    members[value].push(node);
  });
  const result = [...layer];
  let row = 0;
  for (const nodes of members) {
    const list = nodes ?? [];
    const rows = Math.max(1, Math.ceil(list.length / widest));
    const each = Math.ceil(list.length / rows);
    list.forEach((node, i) => {
      result[node] = row + Math.floor(i / each);
    });
    row += rows;
  }
  return result;
}

/** Longest span that still gets dummies, so that there are at most a few for each node. */
function longestChain(
  count: number,
  edges: ReadonlyArray<readonly [number, number]>,
  layer: number[],
  weak: LayoutInput["weak"],
): number {
  const reach = new Int32Array(count);
  edges.forEach(([a, b], i) => {
    if (!weak?.[i]) reach[a] = Math.max(reach[a], layer[b] - layer[a]);
  });
  const budget = 3 * count + 500;
  let longest = Number.POSITIVE_INFINITY;
  for (;;) {
    let total = 0;
    for (const span of reach) if (span <= longest) total += Math.max(0, span - 1);
    if (total <= budget) return longest;
    longest = longest === Number.POSITIVE_INFINITY ? 64 : longest >> 1;
  }
}

/** Chains of dummies, one chain a source: its long edges share a trunk, which bounds their number. */
function withDummies(
  input: LayoutInput,
  edges: ReadonlyArray<readonly [number, number]>,
  layer: number[],
): { work: Work; chains: number[][] } {
  const count = layer.length;
  const work: Work = {
    count,
    layer: [...layer],
    width: Array.from({ length: count }, (_, i) => input.widths[i]),
    height: Array.from({ length: count }, (_, i) => input.heights[i]),
    up: Array.from({ length: count }, () => []),
    down: Array.from({ length: count }, () => []),
  };
  const longest = longestChain(count, edges, layer, input.weak);
  const trunks: number[][] = Array.from({ length: count }, () => []);
  const link = (a: number, b: number) => {
    work.down[a].push(b);
    work.up[b].push(a);
  };
  const seen = new Set<number>();
  const chains = edges.map(([a, b], i) => {
    if (a === b) return [];
    const span = layer[b] - layer[a];
    if (span > (input.weak?.[i] ? 1 : longest)) return [];
    const trunk = trunks[a];
    while (trunk.length < span - 1) {
      const dummy = work.count++;
      work.layer.push(layer[a] + trunk.length + 1);
      work.width.push(kDummyWidth);
      work.height.push(0);
      work.up.push([]);
      work.down.push([]);
      link(trunk.length ? trunk[trunk.length - 1] : a, dummy);
      trunk.push(dummy);
    }
    const chain = trunk.slice(0, Math.max(0, span - 1));
    const last = chain.length ? chain[chain.length - 1] : a;
    const key = last * 4194304 + b;
    if (!seen.has(key)) {
      seen.add(key);
      link(last, b);
    }
    return chain;
  });
  return { work, chains };
}

/** Median position of the linked nodes, or -1 without any. */
function median(links: number[], position: Int32Array): number {
  if (links.length === 0) return -1;
  if (links.length === 1) return position[links[0]];
  if (links.length === 2) return (position[links[0]] + position[links[1]]) / 2;
  const values = links.map((other) => position[other]).sort((a, b) => a - b);
  const middle = values.length >> 1;
  if (values.length % 2) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

/** First order: depth-first from the top, so that a chain starts out straight. */
function firstOrder(work: Work): number[][] {
  const layers: number[][] = [];
  const seen = new Uint8Array(work.count);
  const roots = Array.from({ length: work.count }, (_, i) => i).sort(
    (a, b) => work.layer[a] - work.layer[b] || a - b,
  );
  for (const root of roots) {
    if (seen[root]) continue;
    const stack = [root];
    while (stack.length) {
      const node = stack.pop() as number;
      if (seen[node]) continue;
      seen[node] = 1;
      layers[work.layer[node]] ??= [];
      layers[work.layer[node]].push(node);
      for (let i = work.down[node].length - 1; i >= 0; i--) {
        if (!seen[work.down[node][i]]) stack.push(work.down[node][i]);
      }
    }
  }
  return Array.from(layers, (layer) => layer ?? []);
}

/** Crossings between two layers by counting inversions in a binary indexed tree. */
function crossings(
  work: Work,
  upper: number[],
  position: Int32Array,
  lower: number,
  tree: Int32Array,
): number {
  tree.fill(0, 0, lower + 1);
  let total = 0;
  let seen = 0;
  for (const node of upper) {
    const down = work.down[node];
    for (const next of down) {
      let smaller = 0;
      for (let i = position[next] + 1; i > 0; i -= i & -i) smaller += tree[i];
      total += seen - smaller;
    }
    for (const next of down) {
      for (let i = position[next] + 1; i <= lower; i += i & -i) tree[i]++;
      seen++;
    }
  }
  return total;
}

function allCrossings(work: Work, layers: number[][], position: Int32Array): number {
  let total = 0;
  const tree = new Int32Array(work.count + 1);
  for (let i = 0; i + 1 < layers.length; i++) {
    total += crossings(work, layers[i], position, layers[i + 1].length, tree);
  }
  return total;
}

function order(work: Work): number[][] {
  const layers = firstOrder(work);
  const position = new Int32Array(work.count);
  const key = new Float64Array(work.count);
  const number = (layer: number[]) => {
    for (let i = 0; i < layer.length; i++) position[layer[i]] = i;
  };
  layers.forEach(number);
  let best = layers.map((layer) => [...layer]);
  let fewest = allCrossings(work, layers, position);
  const sweeps = work.count > 5000 ? 6 : 16;
  let idle = 0;
  for (let sweep = 0; sweep < sweeps && fewest > 0 && idle < 4; sweep++) {
    const down = sweep % 2 === 0;
    const links = down ? work.up : work.down;
    for (let k = 0; k < layers.length; k++) {
      const layer = layers[down ? k : layers.length - 1 - k];
      if (layer.length < 2) continue;
      for (const node of layer) {
        const value = median(links[node], position);
        key[node] = value < 0 ? position[node] : value;
      }
      layer.sort((a, b) => key[a] - key[b] || position[a] - position[b]);
      number(layer);
    }
    const now = allCrossings(work, layers, position);
    idle++;
    if (now < fewest) {
      idle = 0;
      fewest = now;
      best = layers.map((layer) => [...layer]);
    }
  }
  return best;
}

/** Least squares of x[i] to want[i] with weights, x[i + 1] - x[i] >= gap[i]; linear in the layer's length. */
export function separate(want: number[], weight: number[], gap: number[]): number[] {
  const offset = new Array<number>(want.length).fill(0);
  for (let i = 1; i < want.length; i++) offset[i] = offset[i - 1] + gap[i - 1];
  const blocks: { sum: number; weight: number; count: number }[] = [];
  for (let i = 0; i < want.length; i++) {
    let block = { sum: (want[i] - offset[i]) * weight[i], weight: weight[i], count: 1 };
    while (blocks.length) {
      const last = blocks[blocks.length - 1];
      if (last.sum / last.weight <= block.sum / block.weight) break;
      blocks.pop();
      block = {
        sum: last.sum + block.sum,
        weight: last.weight + block.weight,
        count: last.count + block.count,
      };
    }
    blocks.push(block);
  }
  const result: number[] = [];
  for (const block of blocks) {
    for (let i = 0; i < block.count; i++) {
      result.push(block.sum / block.weight + offset[result.length]);
    }
  }
  return result;
}

function place(work: Work, layers: number[][], gapX: number, real: number): Float64Array {
  const x = new Float64Array(work.count);
  const gaps = layers.map((layer) =>
    layer.slice(1).map((node, i) => {
      const gap = layer[i] >= real || node >= real ? gapX / 2 : gapX;
      return (work.width[layer[i]] + work.width[node]) / 2 + gap;
    }),
  );
  layers.forEach((layer, k) => {
    let at = 0;
    layer.forEach((node, i) => {
      if (i) at += gaps[k][i - 1];
      x[node] = at;
    });
    for (const node of layer) x[node] -= at / 2;
  });
  const rounds = work.count > 5000 ? 6 : 12;
  for (let round = 0; round < rounds; round++) {
    for (let j = 0; j < layers.length; j++) {
      const k = round % 2 ? layers.length - 1 - j : j;
      const layer = layers[k];
      const want = new Array<number>(layer.length);
      const weight = new Array<number>(layer.length);
      for (let i = 0; i < layer.length; i++) {
        const node = layer[i];
        let sum = 0;
        let total = 0;
        const pulls = (links: number[]) => {
          for (const other of links) {
            // Straight trunks first: a link between two dummies pulls hardest.
            const pull = node >= real && other >= real ? 8 : node >= real || other >= real ? 2 : 1;
            sum += x[other] * pull;
            total += pull;
          }
        };
        if (round >= rounds - 2 || round % 2 === 0) pulls(work.up[node]);
        if (round >= rounds - 2 || round % 2 === 1) pulls(work.down[node]);
        want[i] = total ? sum / total : x[node];
        weight[i] = total || 0.1;
      }
      const placed = layer.length === 1 ? want : separate(want, weight, gaps[k]);
      for (let i = 0; i < layer.length; i++) x[layer[i]] = placed[i];
    }
  }
  return x;
}

export function layered(input: LayoutInput): LayoutResult {
  const count = input.widths.length;
  const gapX = input.gapX ?? 24;
  const gapY = input.gapY ?? 34;
  const forward = acyclic(count, input.edges);
  const layer = layering(count, forward);
  const { work, chains } = withDummies(input, forward, layer);
  const layers = order(work);
  const x = place(work, layers, gapX, count);
  const centre: number[] = [];
  let top = 0;
  for (const nodes of layers) {
    let tallest = 0;
    for (const node of nodes) tallest = Math.max(tallest, work.height[node]);
    centre.push(top + tallest / 2);
    top += tallest + gapY;
  }
  let left = Number.POSITIVE_INFINITY;
  let right = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < work.count; i++) {
    left = Math.min(left, x[i] - work.width[i] / 2);
    right = Math.max(right, x[i] + work.width[i] / 2);
  }
  if (work.count === 0) left = right = 0;
  for (let i = 0; i < work.count; i++) x[i] -= left;
  const routes = chains.map((chain, i) => {
    const points = chain.map((dummy) => [x[dummy], centre[work.layer[dummy]]]);
    // An edge reversed against a cycle is routed backwards.
    if (forward[i][0] !== input.edges[i][0]) points.reverse();
    return points.flat();
  });
  return {
    x: x.slice(0, count),
    y: Float64Array.from({ length: count }, (_, i) => centre[layer[i]]),
    width: right - left,
    height: Math.max(0, top - gapY),
    layers: layers.length,
    routes,
  };
}
