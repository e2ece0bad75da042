// Lanes of slices over time: evaluations, planning, waits, the copies between each pair of devices,
// and the launches of each queue. A device has one queue.
import * as format from "../shared/format.ts";
import { clockOf, L, R, S, type Store } from "../shared/model.ts";
import { type Mark, SlicePyramid } from "../shared/pyramid.ts";
import { type Axis, ticks, toPixel } from "../shared/scale.ts";
import { kKindColor, kKindGlyph, mix, type Theme } from "../shared/theme.ts";

export const kAxisHeight = 22;
export const kLaneHeight = 34;
export const kLaneLabel = 92;

const kOutcomes = ["hit", "polymorphic", "miss"];
const kLaneOrder: Record<LaneKind, number> = { plan: 0, sync: 1, copy: 2, launches: 3 };
const kSpanNames: Record<number, string> = { 2: "plan", 7: "copy", 8: "sync" };
const kSpanColors: Record<number, string> = { 2: "#CC79A7", 7: "#E69F00", 8: "#8C8C8C" };

export interface SliceInfo {
  lane: number;
  t0: number;
  t1: number;
  title: string;
  lines: string[];
  color: string;
  glyph: string;
  plan: number;
  launch: number;
}

type LaneKind = "launches" | "plan" | "copy" | "sync";

/** Some rows of the store's columns: their positions, and their times. */
class Lane {
  readonly pyramid = new SlicePyramid();
  length = 0;
  private rows = [0, 1, 2].map(() => new Float64Array(1024));

  constructor(
    readonly kind: LaneKind,
    readonly name: string,
  ) {}

  add(index: number, t0: number, t1: number): void {
    if (this.length === this.rows[0].length)
      this.rows = this.rows.map((old) => {
        const grown = new Float64Array(2 * old.length);
        grown.set(old);
        return grown;
      });
    [index, t0, t1].forEach((value, k) => {
      this.rows[k][this.length] = value;
    });
    this.length++;
  }

  update(): void {
    this.pyramid.update(this.rows[1], this.rows[2], this.length);
  }

  indexOf(row: number): number {
    return this.rows[0][row];
  }
}

export class Timeline {
  private runs = new SlicePyramid();
  private spans: Lane[] = [];
  private spansTaken = 0;
  private devices = 0;
  private queues: Lane[] = [];
  private taken = 0;
  private plans = -1;
  private epoch = -1;
  private forgotten = 0;

  constructor(private store: Store) {}

  get lanes(): string[] {
    const names = this.queues.length > 1 ? this.queues.map((queue) => queue.name) : ["launches"];
    return ["evaluations", ...this.spans.map((lane) => lane.name), ...names];
  }

  isQueue(lane: number): boolean {
    return lane > this.spans.length;
  }

  /** Lanes below that of the evaluations. */
  private at(lane: number): Lane | undefined {
    return [...this.spans, ...this.queues][lane - 1];
  }

  update(): void {
    const { store } = this;
    const gone = store.launches.forgotten + store.runs.forgotten + store.spans.forgotten;
    if (this.epoch !== store.epoch || this.forgotten !== gone) {
      this.runs.clear();
      this.plans = this.devices = -1;
      this.epoch = store.epoch;
      this.forgotten = gone;
    }
    const { runs } = store;
    this.runs.update(runs.column(R.t0), runs.column(R.t1), runs.length);
    this.takeSpans();
    this.takeLaunches();
  }

  private deviceName(number: number): string {
    return this.store.deviceNames[number] ?? (number === 0 ? "cpu" : `device ${number}`);
  }

  /** Planning has a lane always; waits, and copies of each pair of devices, where there are some. */
  private takeSpans(): void {
    const { spans, deviceNames } = this.store;
    if (this.devices !== deviceNames.length || spans.length < this.spansTaken) {
      this.spans = [new Lane("plan", "planning")];
      this.spansTaken = 0;
      this.devices = deviceNames.length;
    }
    const column = (i: number) => spans.column(i);
    const [kind, t0, t1, from, to] = [S.kind, S.t0, S.t1, S.c, S.d].map(column);
    for (; this.spansTaken < spans.length; this.spansTaken++) {
      const i = this.spansTaken;
      const name =
        kind[i] === 7
          ? `copies\n${this.deviceName(from[i])} → ${this.deviceName(to[i])}`
          : kind[i] === 8
            ? "waiting"
            : "planning";
      let lane = this.spans.find((known) => known.name === name);
      if (!lane) {
        lane = new Lane(kind[i] === 7 ? "copy" : "sync", name);
        this.spans.push(lane);
        this.spans.sort(
          (a, b) => kLaneOrder[a.kind] - kLaneOrder[b.kind] || (a.name < b.name ? -1 : 1),
        );
      }
      lane.add(i, t0[i], t1[i]);
    }
    for (const lane of this.spans) lane.update();
  }

  /** A plan that comes after its launches says only then which queue they were on. */
  private takeLaunches(): void {
    const { launches, plans } = this.store;
    if (this.plans !== plans.size || launches.length < this.taken) {
      this.queues = [];
      this.taken = 0;
      this.plans = plans.size;
    }
    const column = (i: number) => launches.column(i);
    const [plan, t0, t1] = [column(L.plan), column(L.t0), column(L.t1)];
    for (; this.taken < launches.length; this.taken++) {
      const i = this.taken;
      const name = plans.get(plan[i])?.plan.device || "cpu";
      let queue = this.queues.find((known) => known.name === name);
      if (!queue) {
        queue = new Lane("launches", name);
        this.queues.push(queue);
        this.queues.sort((a, b) => a.name.localeCompare(b.name));
      }
      queue.add(i, t0[i], t1[i]);
    }
    for (const queue of this.queues) queue.update();
  }

  range(): [number, number] {
    let from = Number.POSITIVE_INFINITY;
    let to = Number.NEGATIVE_INFINITY;
    const take = (t0: Float64Array, t1: Float64Array, length: number) => {
      if (length === 0) return;
      from = Math.min(from, t0[0]);
      for (let i = Math.max(0, length - 64); i < length; i++) to = Math.max(to, t1[i]);
    };
    const { runs, spans, launches } = this.store;
    take(runs.column(R.t0), runs.column(R.t1), runs.length);
    take(spans.column(S.t0), spans.column(S.t1), spans.length);
    take(launches.column(L.t0), launches.column(L.t1), launches.length);
    if (!(to > from)) return [0, 1e6];
    const margin = (to - from) * 0.01;
    return [from - margin, to + margin];
  }

  marks(lane: number, axis: Axis): Mark[] {
    const pyramid = lane === 0 ? this.runs : this.at(lane)?.pyramid;
    return pyramid?.marks(axis.from, axis.to, axis.pixels * 1.5) ?? [];
  }

  info(lane: number, i: number): SliceInfo {
    const rows = this.at(lane);
    if (!rows) return this.runInfo(i);
    const row = rows.indexOf(i);
    return rows.kind === "launches" ? this.launchInfo(lane, row) : this.spanInfo(lane, row);
  }

  kernelKey(slice: SliceInfo): string {
    return this.store.kernelKey(slice.plan, slice.launch);
  }

  private runInfo(i: number): SliceInfo {
    const { runs } = this.store;
    const outcome = runs.column(R.outcome)[i];
    const plan = runs.column(R.plan)[i];
    const [t0, t1] = [runs.column(R.t0)[i], runs.column(R.t1)[i]];
    return {
      lane: 0,
      t0,
      t1,
      title: `eval ${runs.column(R.run)[i]}: ${kOutcomes[outcome] ?? "unknown"}`,
      lines: [`plan ${plan} · ${runs.column(R.nodes)[i]} nodes`],
      color: outcome === 2 ? "#D55E00" : outcome === 1 ? "#E69F00" : "#009E73",
      glyph: outcome === 2 ? "✗" : outcome === 1 ? "≈" : "✓",
      plan,
      launch: -1,
    };
  }

  private spanInfo(lane: number, i: number): SliceInfo {
    const { spans } = this.store;
    const kind = spans.column(S.kind)[i];
    const [a, b, c, d] = [S.a, S.b, S.c, S.d].map((column) => spans.column(column)[i]);
    const copied = () => [
      `${this.deviceName(c)} → ${this.deviceName(d)}`,
      `${format.bytes(a)} · ${format.rate(a, spans.column(S.t1)[i] - spans.column(S.t0)[i])}`,
    ];
    return {
      lane,
      t0: spans.column(S.t0)[i],
      t1: spans.column(S.t1)[i],
      title: kSpanNames[kind] ?? "span",
      lines: kind === 2 ? [`plan ${a} · ${b} nodes`] : kind === 7 ? copied() : [],
      color: kSpanColors[kind] ?? "#8C8C8C",
      glyph: kind === 2 ? "⚙" : kind === 7 ? "⇉" : "‖",
      plan: kind === 2 ? a : -1,
      launch: -1,
    };
  }

  private launchInfo(lane: number, i: number): SliceInfo {
    const { launches } = this.store;
    const [plan, launch] = [launches.column(L.plan)[i], launches.column(L.launch)[i]];
    const index = this.store.plans.get(plan);
    const group = index?.launchGroups(launch)[0];
    const [t0, t1] = [launches.column(L.t0)[i], launches.column(L.t1)[i]];
    const moved = launches.column(L.reads)[i] + launches.column(L.writes)[i];
    const clock = clockOf(this.store, plan, launch);
    return {
      lane,
      t0,
      t1,
      title: index?.launches.get(launch)?.name ?? `plan ${plan} launch ${launch}`,
      lines: [
        `${format.bytes(moved)} moved · ${format.rate(moved, t1 - t0)}`,
        ...(clock ? [`time from ${clock}`] : []),
      ],
      color: kKindColor[group?.kind ?? ""] ?? "#8C8C8C",
      glyph: kKindGlyph[group?.kind ?? ""] ?? "·",
      plan,
      launch,
    };
  }
}

export interface TimelineDraw {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  theme: Theme;
  timeline: Timeline;
  axis: Axis;
  /** Launches of this kernel stand out. */
  selected: string | null;
  hover: { lane: number; index: number } | null;
}

export function laneTop(lane: number): number {
  return kAxisHeight + 6 + lane * (kLaneHeight + 8);
}

export function drawTimeline(input: TimelineDraw): void {
  const { context, theme, axis, width } = input;
  const { lanes } = input.timeline;
  const bottom = laneTop(lanes.length) - 4;
  context.font = `10px ${theme.font}`;
  context.textBaseline = "middle";
  context.textAlign = "center";
  for (const tick of ticks(axis.from, axis.to, Math.max(2, Math.floor(axis.pixels / 90)))) {
    const x = kLaneLabel + toPixel(axis, tick);
    context.fillStyle = theme.border;
    context.fillRect(Math.round(x), kAxisHeight - 4, 1, bottom - kAxisHeight + 4);
    context.fillStyle = theme.dim;
    if (x > kLaneLabel + 20 && x < width - 20) context.fillText(format.time(tick), x, 9);
  }
  lanes.forEach((name, lane) => {
    const y = laneTop(lane);
    context.fillStyle = mix(theme.text, theme.background, 0.035);
    context.fillRect(kLaneLabel, y, axis.pixels, kLaneHeight);
    drawLane(input, lane);
    context.fillStyle = theme.background;
    context.fillRect(0, y, kLaneLabel, kLaneHeight);
    context.fillStyle = theme.dim;
    context.textAlign = "left";
    const [first, second] = name.split("\n");
    context.font = `11px ${theme.font}`;
    context.fillText(first, 6, y + kLaneHeight / 2 - (second ? 7 : 0));
    context.font = `10px ${theme.font}`;
    if (second) context.fillText(second, 6, y + kLaneHeight / 2 + 7, kLaneLabel - 8);
  });
}

function drawLane(input: TimelineDraw, lane: number): void {
  const { context, theme, timeline, axis, selected, hover } = input;
  const y = laneTop(lane);
  context.save();
  context.beginPath();
  context.rect(kLaneLabel, y - 2, axis.pixels, kLaneHeight + 4);
  context.clip();
  for (const mark of timeline.marks(lane, axis)) {
    const x0 = kLaneLabel + toPixel(axis, mark.t0);
    const x1 = kLaneLabel + toPixel(axis, mark.t1);
    const wide = x1 - x0;
    if (mark.index < 0) {
      // A bucket is as tall as it is busy.
      const share = Math.min(1, mark.busy / (mark.t1 - mark.t0 || 1));
      context.fillStyle = theme.forced ? theme.text : mix(theme.accent, theme.background, 0.7);
      const tall = Math.max(2, kLaneHeight * share);
      context.fillRect(x0, y + kLaneHeight - tall, Math.max(1, wide), tall);
      continue;
    }
    const info = timeline.info(lane, mark.index);
    const chosen =
      selected !== null && timeline.isQueue(lane) && timeline.kernelKey(info) === selected;
    const faded = selected !== null && timeline.isQueue(lane) && !chosen;
    context.fillStyle = theme.forced
      ? theme.background
      : mix(info.color, theme.background, faded ? 0.25 : chosen ? 0.95 : 0.6);
    context.fillRect(x0, y, Math.max(1, wide - (wide > 4 ? 1 : 0)), kLaneHeight);
    const pointed = hover?.lane === lane && hover.index === mark.index;
    if (pointed || (chosen && wide > 3) || theme.forced) {
      context.strokeStyle = pointed ? theme.text : theme.accent;
      context.lineWidth = pointed ? 2 : 1.5;
      context.strokeRect(x0 + 0.5, y + 0.5, Math.max(1, wide - 1.5), kLaneHeight - 1);
    }
    if (wide > 26) {
      context.fillStyle = theme.text;
      context.textAlign = "left";
      context.font = `11px ${theme.font}`;
      const from = Math.max(x0, kLaneLabel);
      const room = x1 - from - 10;
      if (room > 12)
        context.fillText(
          format.elide(`${info.glyph} ${info.title}`, Math.floor(room / 6)),
          from + 5,
          y + kLaneHeight / 2,
        );
    }
  }
  context.restore();
}
